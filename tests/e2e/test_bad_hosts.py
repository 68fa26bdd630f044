"""Hosts on which things go wrong: broken and missing programs, dying containers, full disks, wrong keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import BRIEF, Break, Project
from tests.lab import LabAtHand

pytestmark = pytest.mark.lab("first")

HUNG = "/tmp/perfctl-test-hung"


def _run(project: Project, host: str, *arguments: str) -> tuple[int, str]:
    done = project.perfctl("run", "--suite", project.suite, "--blocks", "1", "--limit", host, *arguments)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def _reasons(project: Project) -> list[tuple[str, str | None]]:
    rows = project.rows("SELECT status, reason FROM v_invocation")
    return [(row["status"], row["reason"]) for row in rows]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo Lorem ipsum dolor sit amet", "unparsable"),
        ("true", "no_output"),
        ("echo FATAL: out of luck >&2; exit 7", "exit_nonzero"),
    ],
    ids=["rubbish", "nothing", "non-zero"],
)
def test_a_benchmark_that_goes_wrong_is_a_row_with_its_reason(
    on_host: Project, host: str, shadow: Break, script: str, reason: str
) -> None:
    shadow(script)
    exit_code, stderr = _run(on_host, host)
    assert exit_code == 3, stderr
    # Two legs, and once more at the end.
    assert _reasons(on_host) == [("failed", reason)] * 4
    assert on_host.rows("SELECT * FROM v_sample") == []


def test_a_benchmark_that_hangs_is_ended_with_its_children(
    on_host: Project, host: str, shadow: Break, provisioned_lab: LabAtHand
) -> None:
    # Only the first execution hangs: each one takes the whole time limit.
    hang = "trap : TERM; while :; do sleep 600; done"
    shadow(f"case $1 in --version) exit 0;; esac; mkdir {HUNG} 2>/dev/null || exit 7; {hang}")
    try:
        exit_code, stderr = _run(on_host, host)
    finally:
        provisioned_lab.inside(host, "rm", "-rf", HUNG)
    assert exit_code == 3, stderr
    assert sorted(_reasons(on_host)) == [("failed", "exit_nonzero")] * 3 + [("failed", "timeout")]
    assert on_host.rows("SELECT * FROM v_sample") == []
    assert "sleep 600" not in provisioned_lab.inside(host, "ps", "-eo", "args")


def test_the_raw_output_of_a_failure_is_kept(on_host: Project, host: str, shadow: Break) -> None:
    shadow("echo half a report; exit 3")
    assert _run(on_host, host)[0] == 3
    rows = on_host.rows("SELECT detail, exit_code, stdout_sha256 FROM v_invocation")
    assert len(rows) == 4
    for row in rows:
        assert row["exit_code"] == 3
        assert "half a report" in row["detail"]
        assert row["stdout_sha256"]


def test_a_tool_that_is_not_installed_is_named_with_its_cure(
    on_host: Project, host: str, provisioned_lab: LabAtHand
) -> None:
    provisioned_lab.inside(host, "mv", "/usr/bin/sysbench", "/usr/bin/sysbench.away")
    try:
        exit_code, stderr = _run(on_host, host)
    finally:
        provisioned_lab.inside(host, "mv", "/usr/bin/sysbench.away", "/usr/bin/sysbench")
    assert exit_code == 3
    assert "sysbench" in stderr
    rows = on_host.rows("SELECT reason, detail FROM v_invocation")
    assert [row["reason"] for row in rows] == ["tool_missing"] * 2
    assert all("perfctl provision" in row["detail"] for row in rows)


def test_a_container_that_dies_at_once_says_why(
    on_host: Project, host: str, provisioned_lab: LabAtHand
) -> None:
    make = "tar --create --files-from /dev/null | docker import - perfctl/empty:test"
    provisioned_lab.inside(host, "sh", "-c", make)
    suite = Path(on_host.suite)
    text = BRIEF.replace('["native"]', '["native", "empty"]')
    suite.write_text(text + '\n[environments.empty]\nkind = "container"\nimage = "perfctl/empty:test"\n')
    try:
        exit_code, stderr = _run(on_host, host)
    finally:
        provisioned_lab.inside(host, "docker", "rmi", "perfctl/empty:test")
    assert "empty" in stderr
    rows = on_host.rows("SELECT environment, status, reason, detail FROM v_invocation ORDER BY environment")
    assert [(row["environment"], row["status"]) for row in rows][1:] == [("native", "ok")] * 2
    assert rows[0]["reason"] in ("environment_not_made", "environment_died")
    assert "executable file not found" in rows[0]["detail"]
    assert exit_code == 3
    assert provisioned_lab.inside(host, "docker", "ps", "-aq") == ""


def test_a_full_disk_under_the_spool_is_named(
    on_host: Project, host: str, shadow: Break, provisioned_lab: LabAtHand
) -> None:
    spool = "/var/lib/perfctl/spool"
    provisioned_lab.inside(host, "mkdir", "-p", spool)
    provisioned_lab.inside(host, "mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", spool)
    shadow("head -c 4000000 /dev/zero")
    try:
        exit_code, stderr = _run(on_host, host)
    finally:
        # Lazily: an agent that still ends makes it busy, and every later test would find it full.
        provisioned_lab.inside(host, "umount", "--lazy", spool)
    assert exit_code == 3, stderr
    assert set(_reasons(on_host)) == {("failed", "spool_full")}


def test_a_wrong_host_key_is_refused(on_host: Project, host: str, provisioned_lab: LabAtHand) -> None:
    text = provisioned_lab.inventory.read_text()
    known_hosts = next(word for word in text.split() if "known_hosts" in word).split("=")[1].strip("\"'")
    lines = Path(known_hosts).read_text().splitlines()
    # Each host answers with the other's key.
    keys = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    names, values = [key[0] for key in keys], [key[1] for key in keys]
    wrong = on_host.folder / "known_hosts"
    wrong.write_text(
        "".join(f"{name} {value}\n" for name, value in zip(names, reversed(values), strict=True))
    )
    on_host.inventory_path = on_host.folder / "wrong.yml"
    on_host.inventory_path.write_text(text.replace(known_hosts, str(wrong)))
    exit_code, stderr = _run(on_host, host)
    assert exit_code == 4, stderr
    assert "key" in stderr
