"""What else went on while something was measured: it is seen, said, kept, and decides what counts."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import Project, wait_until
from tests.lab import LabAtHand
from tests.processes import can_read_kernel_log

DROP_IN = "/run/systemd/system/perfctl-.service.d"
LATER_S = 120
"""What a test starts in a host ends by then, whatever becomes of the test."""


@pytest.fixture
def on_lab(provisioned_lab: LabAtHand, project: Project) -> Project:
    """Return a project whose hosts are the lab's."""
    project.inventory_path = provisioned_lab.inventory
    # Whether a host may be refused is what is tested.
    project.environ.pop("PERFCTL_FORCE", None)
    return project


@pytest.fixture
def host(provisioned_lab: LabAtHand) -> str:
    """Return the host that is made busy, limited or unfit."""
    return provisioned_lab.hosts[0]


@contextmanager
def in_the_background(host: str, *argv: str) -> Iterator[None]:
    """Run a command in a host of the lab for the time of the block."""
    process = subprocess.Popen(["docker", "exec", host, "timeout", "-k", "1", str(LATER_S), *argv])
    try:
        yield
    finally:
        # The client's end is not the command's.
        subprocess.run(["docker", "exec", host, "pkill", "-f", f"^timeout -k 1 {LATER_S} "], check=False)
        process.wait(timeout=60)


def measure(project: Project, host: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return project.perfctl("run", "--suite", project.suite, "--limit", host, "--blocks", "1", *arguments)


def test_every_invocation_is_judged_by_limits_that_are_kept(project: Project) -> None:
    limits = ["--validity", "steal=3,never", "--validity", "others_cpu=never,never"]
    done = project.perfctl("run", "--suite", project.suite, "--blocks", "1", *limits)
    assert done.returncode == 0, done.stderr
    rows = project.rows("SELECT invocation_id, validity FROM v_invocation")
    assert len(rows) == 2
    assert {row["validity"] for row in rows} <= {"valid", "flagged", "invalid"}
    (kept,) = project.rows("SELECT thresholds_json FROM run")
    validity = json.loads(kept["thresholds_json"])["validity"]
    assert (validity["steal"], validity["others_cpu"]) == ([3.0, None], [None, None])
    assert project.rows("SELECT * FROM v_finding WHERE rule = 'others_cpu'") == []
    shown = project.perfctl("show", "latest", "--invocation", rows[0]["invocation_id"], "--format", "json")
    (row,) = json.loads(shown.stdout)["rows"]
    assert row["validity"] == rows[0]["validity"]
    # A reader sleeps beside the job, where the login may read the log at all.
    assert ("kernel_messages" in {item["rule"] for item in row["not_judged"]}) is not can_read_kernel_log()
    again = project.perfctl("db", "reparse")
    assert "0 say something else now" in again.stderr


@pytest.mark.lab("first")
def test_a_host_that_others_keep_busy_flags_what_it_measures(on_lab: Project, host: str) -> None:
    with in_the_background(host, "sh", "-c", "while :; do :; done"):
        done = measure(on_lab, host)
    assert done.returncode == 0, "a busy lab is never refused: its hosts are containers\n" + done.stderr
    rows = on_lab.rows("SELECT validity, severity, seen, sentence FROM v_finding WHERE rule = 'others_cpu'")
    assert len(rows) == 2
    for row in rows:
        assert row["validity"] in ("flagged", "invalid") and row["severity"] == "flagged"
        assert row["seen"] > 5
        assert "other tasks of the host used" in row["sentence"]
    assert done.stderr.count("; flagged: ") + done.stderr.count("; invalid: ") == 2
    counts = on_lab.rows("SELECT environment, count(*) AS n FROM v_invocation WHERE validity = 'valid'")
    assert [row["n"] for row in counts] == [0]


@pytest.mark.lab("first")
def test_a_limit_that_nobody_asked_for_makes_it_invalid(
    on_lab: Project, provisioned_lab: LabAtHand, host: str
) -> None:
    drop_in = f"mkdir -p {DROP_IN} && printf '[Service]\\nCPUQuota=8%%\\n' >{DROP_IN}/50-test.conf"
    provisioned_lab.inside(host, "sh", "-c", f"{drop_in} && systemctl daemon-reload")
    try:
        done = measure(on_lab, host)
    finally:
        provisioned_lab.inside(host, "sh", "-c", f"rm -r {DROP_IN} && systemctl daemon-reload")
    assert done.returncode == 0, done.stderr
    rows = on_lab.rows("SELECT status, validity FROM v_value WHERE is_headline")
    assert rows == [{"status": "ok", "validity": "invalid"}] * 2, "kept, and marked"
    assert "a CPU limit that the environment does not set" in done.stderr
    shown = on_lab.perfctl("show", "latest").stdout
    (counted,) = [line.split() for line in shown.splitlines() if line.startswith("native ")]
    assert counted[1:5] == ["0", "0", "2", "0"]


@pytest.mark.lab("first")
def test_a_host_that_is_not_fit_is_refused_until_it_is_or_is_forced(on_lab: Project, host: str) -> None:
    strict = ("--preflight", "neighbours=0,0")
    guest = "cp /bin/sleep /tmp/qemu-test && exec /tmp/qemu-test 1000"
    with in_the_background(host, "sh", "-c", guest):
        seen = ["docker", "exec", host, "pgrep", "-x", "qemu-test"]
        wait_until(lambda: subprocess.run(seen, check=False).returncode == 0, "the neighbour to be there")
        refused = measure(on_lab, host, *strict)
        assert refused.returncode == 7, refused.stderr
        for words in ("read again in 10 s", host, "1 processes (qemu-test)", "--force"):
            assert words in refused.stderr
        (run,) = on_lab.rows("SELECT run_id, status, invocations FROM v_run")
        assert (run["status"], run["invocations"]) == ("interrupted", 0)
        assert on_lab.rows("SELECT * FROM environment_snapshot") == [], "nothing was opened there"
        forced = measure(on_lab, host, *strict, "--force")
        assert forced.returncode == 0, forced.stderr
        assert "measured because of --force" in forced.stderr
        notes = on_lab.rows("SELECT text FROM event WHERE text LIKE '%measured because of --force%'")
        assert len(notes) == 1
    # The limits are those that the run was begun with; the host is fit now.
    resumed = on_lab.perfctl("resume", run["run_id"])
    assert resumed.returncode == 0, resumed.stderr
    assert Path(on_lab.database).exists()
    (run,) = on_lab.rows(f"SELECT status, invocations FROM v_run WHERE run_id = '{run['run_id']}'")
    assert (run["status"], run["invocations"]) == ("complete", 2)
