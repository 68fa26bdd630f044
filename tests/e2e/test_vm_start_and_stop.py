"""Guests on one host: what their start costs, and what is left when a run with them goes wrong."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Project, end, wait_until
from tests.e2e.guests import (
    ALL_THREE,
    NOTHING,
    ONE_BENCHMARK,
    anything_left_on,
    artifacts,
    measured,
    project_of,
    run_id,
)
from tests.lab import LabAtHand

pytestmark = pytest.mark.lab("first")


# ---- what a start costs ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_start_is_timed_step_by_step_in_every_environment(
    provisioned_lab: LabAtHand, tmp_path: Path
) -> None:
    options = (
        "--suite",
        "startup",
        *ALL_THREE,
        "--env",
        "container-in-vm",
        "--limit",
        provisioned_lab.hosts[0],
    )
    project = measured(provisioned_lab, tmp_path, *options)
    steps: dict[str, dict[str, float]] = {}
    for row in project.rows("SELECT environment, metric, value FROM v_value WHERE replicate = 1"):
        steps.setdefault(row["environment"], {})[row["metric"]] = row["value"]
    assert set(steps["native"]) == {"ready"}
    assert set(steps["container"]) == {"made", "ready"}
    assert set(steps["vm"]) == {"console", "kernel", "ssh", "ready"}
    assert set(steps["container-in-vm"]) == {"console", "kernel", "ssh", "made", "ready"}
    order = ("console", "kernel", "ssh", "made", "ready")
    for name in ("container", "vm", "container-in-vm"):
        ordered = [steps[name][step] for step in order if step in steps[name]]
        assert ordered == sorted(ordered)
        assert ordered[0] > steps["native"]["ready"]
    (report,) = artifacts(project, "stdout", "vm")
    assert report.startswith("steps: console kernel ssh\nconsole: ")


# ---- what goes wrong ---------------------------------------------------------------------------------------


@pytest.fixture
def slow(provisioned_lab: LabAtHand, tmp_path: Path) -> Project:
    """Return a project whose benchmark gives one time to do harm."""
    project = project_of(provisioned_lab, tmp_path)
    Path(project.suite).write_text(
        ONE_BENCHMARK.format(
            name="slow", workload="sysbench", parameters='{ test = "cpu", threads = 1, time_s = 4 }'
        )
    )
    return project


def guest_of(lab: LabAtHand, project: Project) -> str:
    """Return the name of the guest that stands on the first host, '' without one."""
    rows = project.rows("SELECT run_id FROM v_run") if project.database.exists() else []
    if not rows:
        return ""
    find = 'cd /var/lib/perfctl/vm/guests && grep -lxF "$0" */run || true'
    found = lab.inside(lab.hosts[0], "sh", "-c", find, rows[0]["run_id"]).split()
    return found[0].partition("/")[0] if found else ""


# Over the connection that perfctl itself holds open; without one there is nobody to ask. It is the guest that
# waits for its benchmark: who asks again and again from outside may hear of it when it is over. The brackets
# keep it from finding itself.
_IN_GUEST = 'timeout 100 ssh -S "/var/lib/perfctl/vm/guests/$0/ssh" guest "$@" || true'
_ONCE_IT_MEASURES = (
    "measures() { pgrep -f '[-]-time=4' >/dev/null; }; "
    "for _ in $(seq 300); do measures && break; sleep 0.2; done; measures && "
)


def wait_until_it_measures(lab: LabAtHand, project: Project, process: Any, then: str = "true") -> None:
    """Wait until the benchmark runs inside the guest, which then runs another command."""

    def does() -> bool:
        name = guest_of(lab, project)
        command = f"{_ONCE_IT_MEASURES} {{ {then}; echo done; }}"
        argv = ("sh", "-c", _IN_GUEST, name, command)
        said = lab.inside(lab.hosts[0], *argv, timeout_s=150) if name else ""
        return "done" in said or process.poll() is not None

    wait_until(does, "a guest that measures", 300)


def start_in_guest(lab: LabAtHand, project: Project) -> Any:
    """Start the slow run on the first host, in a guest and natively."""
    return project.start("run", "--suite", project.suite, "--limit", lab.hosts[0], "--blocks", "1")


def test_the_console_of_a_guest_that_panics_is_kept(provisioned_lab: LabAtHand, slow: Project) -> None:
    process = start_in_guest(provisioned_lab, slow)
    panic = "nohup sh -c 'sleep 0.5; echo c >/proc/sysrq-trigger' >/dev/null 2>&1 & true"
    wait_until_it_measures(provisioned_lab, slow, process, panic)
    _, stderr = process.communicate(timeout=300)
    # The block is run again, and comes to its end with another guest.
    assert process.returncode == 0, stderr
    (row,) = slow.rows("SELECT reason, detail, accelerator FROM v_invocation WHERE status != 'ok'")
    assert row["reason"] == "guest_panicked"
    assert row["accelerator"] in ("tcg", "kvm")
    console = next(text for text in artifacts(slow, "console", "vm") if "panic" in text)
    assert "Kernel panic - not syncing: sysrq triggered crash" in console
    assert anything_left_on(provisioned_lab, run_id(slow)) == NOTHING


def test_ctrl_c_takes_the_guest_along_that_boots(provisioned_lab: LabAtHand, slow: Project) -> None:
    process = start_in_guest(provisioned_lab, slow)
    wait_until(lambda: bool(guest_of(provisioned_lab, slow)), "a guest", 300)
    code, _, stderr = end(process, signal.SIGINT)
    assert code == 130, stderr
    assert "perfctl resume" in stderr
    assert anything_left_on(provisioned_lab, run_id(slow)) == NOTHING


def test_a_killed_run_is_reaped_with_its_guest_while_that_boots(
    provisioned_lab: LabAtHand, slow: Project
) -> None:
    process = start_in_guest(provisioned_lab, slow)
    wait_until(lambda: bool(guest_of(provisioned_lab, slow)), "a guest", 300)
    process.kill()
    process.communicate(timeout=30)
    run = run_id(slow)
    refused = slow.perfctl("reap", "--all", "--format", "json")
    assert refused.returncode == 0, refused.stderr
    assert anything_left_on(provisioned_lab, run) == NOTHING
    kinds = {row["kind"] for row in json.loads(refused.stdout)["rows"]}
    assert kinds >= {"server", "environment"}
    assert slow.perfctl("reap", run, "--format", "json").returncode == 0


def test_a_run_killed_while_a_guest_measures_is_resumed(provisioned_lab: LabAtHand, slow: Project) -> None:
    process = start_in_guest(provisioned_lab, slow)
    wait_until_it_measures(provisioned_lab, slow, process)
    process.kill()
    process.communicate(timeout=30)
    done = slow.perfctl("resume", "latest", timeout_s=600)
    assert done.returncode == 0, done.stderr
    whole = slow.rows("SELECT environment, status FROM v_invocation WHERE block_status = 'complete'")
    assert sorted(row["environment"] for row in whole) == ["native", "native", "vm"]
    assert {row["status"] for row in whole} == {"ok"}
    assert anything_left_on(provisioned_lab, run_id(slow)) == NOTHING
