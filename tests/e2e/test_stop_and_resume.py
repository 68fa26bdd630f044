"""Ctrl-C, SIGTERM and kill -9: what was measured is kept, nothing stays behind, resume does the rest."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import LOCAL, Project, end, processes_with, wait_until

BLOCKS = 3
MARK = "--cpu-max-prime=10007"
"""Makes this test's sysbench processes recognisable."""


@pytest.fixture
def slow(project: Project) -> Project:
    """Two seconds per invocation, so that a signal lands inside one."""
    suite = Path(project.suite)
    text = suite.read_text().replace("time_s = 1", "time_s = 2, cpu_max_prime = 10007")
    suite.write_text(text.replace("blocks = 2", f"blocks = {BLOCKS}"))
    return project


def _last_longer(project: Project) -> None:
    """Double the time of each invocation, for a run that several commands are to meet one after the other."""
    suite = Path(project.suite)
    suite.write_text(suite.read_text().replace("time_s = 2", "time_s = 4"))


def _start_and_wait(project: Project, invocations: int) -> subprocess.Popen[str]:
    """Start a run and return when so many invocations are stored and the next one is running."""
    process = project.start("run", "--suite", project.suite)
    wait_until(
        lambda: (
            (project.invocation_count() >= invocations and bool(processes_with(MARK)))
            or process.poll() is not None
        ),
        "the run to be under way",
    )
    assert process.poll() is None, process.communicate()
    return process


def _assert_whole(project: Project) -> None:
    """Every planned block is complete exactly once, and no block's key is missing."""
    blocks = project.rows(
        "SELECT block, attempt, count(*) AS n FROM v_invocation "
        "WHERE block_status = 'complete' GROUP BY block, attempt ORDER BY block"
    )
    assert [row["block"] for row in blocks] == list(range(BLOCKS))
    assert [row["n"] for row in blocks] == [2] * BLOCKS


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stop_is_clean_and_resume_finishes(slow: Project, number: signal.Signals, exit_code: int) -> None:
    process = _start_and_wait(slow, invocations=3)
    code, _, stderr = end(process, number)
    assert code == exit_code, stderr
    assert "Traceback" not in stderr
    assert processes_with(MARK) == []
    (run,) = slow.rows("SELECT run_id, status FROM v_run")
    assert run["status"] == "interrupted"
    kept = slow.rows("SELECT invocation_id FROM v_invocation WHERE block_status = 'complete'")
    assert len(kept) == 2

    done = slow.perfctl("resume", run["run_id"])
    assert done.returncode == 0, done.stderr
    _assert_whole(slow)
    after = slow.rows("SELECT invocation_id FROM v_invocation WHERE block_status = 'complete'")
    assert {row["invocation_id"] for row in kept} <= {row["invocation_id"] for row in after}
    again = slow.perfctl("resume", run["run_id"])
    assert again.returncode == 2
    assert "nothing is left to do" in again.stderr


def test_a_run_whose_database_was_moved_is_finished_by_the_command_that_it_prints(slow: Project) -> None:
    process = _start_and_wait(slow, invocations=1)
    elsewhere = slow.database.rename(slow.folder / "elsewhere.db")
    _, stderr = process.communicate(timeout=90)
    assert process.returncode == 8, stderr
    assert processes_with(MARK) == []
    elsewhere.rename(slow.database)
    (printed,) = re.findall(r"perfctl (resume [^;\n]*)", stderr)
    # As a user copies it: with no other options.
    argv = [sys.executable, "-m", "perfctl", *shlex.split(printed)]
    done = subprocess.run(
        argv, env=slow.environ, cwd=slow.folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    _assert_whole(slow)


def test_a_job_outlives_its_controller_and_is_collected(slow: Project) -> None:
    process = _start_and_wait(slow, invocations=3)
    process.kill()
    process.communicate(timeout=30)
    (run,) = slow.rows("SELECT run_id FROM v_run")
    done = slow.perfctl("resume", run["run_id"])
    assert done.returncode == 0, done.stderr
    _assert_whole(slow)
    # The invocation that was running when the controller died completed its block: nothing was repeated.
    assert slow.rows("SELECT 1 FROM v_invocation WHERE attempt > 1") == []
    assert processes_with(MARK) == []


def test_a_second_run_on_a_leased_host_is_refused_and_harms_nothing(slow: Project, tmp_path: Path) -> None:
    _last_longer(slow)
    process = _start_and_wait(slow, invocations=1)
    (first,) = slow.rows("SELECT run_id FROM v_run")
    elsewhere = ["--db", str(tmp_path / "other.db")]
    run = ["run", "--suite", slow.suite]
    others = (run, [*run, *elsewhere], ["resume", first["run_id"]], ["provision", "--force"])
    # At once: one after the other they may take longer than the run that they meet.
    started = [slow.start(*arguments) for arguments in others]
    held = json.loads(slow.perfctl("hosts", "--format", "json").stdout)["rows"]
    assert [(row["state"], row["run_id"]) for row in held] == [("held", first["run_id"])]
    for other in started:
        _, said = other.communicate(timeout=90)
        assert other.returncode == 6, said
        assert first["run_id"] in said
    process.communicate(timeout=90)
    assert process.returncode == 0
    runs = slow.rows("SELECT run_id, status FROM v_run ORDER BY run_id")
    assert [row["status"] for row in runs] == ["complete", "interrupted"]
    assert runs[0]["run_id"] == first["run_id"]


def test_a_stolen_host_is_lost_to_its_run_which_can_be_resumed(slow: Project) -> None:
    process = _start_and_wait(slow, invocations=1)
    (run,) = slow.rows("SELECT run_id FROM v_run")
    stolen = slow.perfctl("hosts", "--steal", "--yes", "--format", "json")
    assert stolen.returncode == 0, stolen.stderr
    assert [row["state"] for row in json.loads(stolen.stdout)["rows"]] == ["free"]
    assert processes_with(MARK) == []
    process.communicate(timeout=90)
    assert process.returncode == 3
    assert slow.perfctl("resume", run["run_id"]).returncode == 0
    _assert_whole(slow)


def test_a_new_run_removes_what_a_killed_run_of_another_database_left(slow: Project, tmp_path: Path) -> None:
    process = _start_and_wait(slow, invocations=3)
    process.kill()
    process.communicate(timeout=30)
    (run,) = slow.rows("SELECT run_id FROM v_run")
    wait_until(lambda: not processes_with(MARK), "its last job to end")
    other = slow.perfctl("run", "--suite", slow.suite, "--blocks", "1", "--db", str(tmp_path / "other.db"))
    assert other.returncode == 0, other.stderr
    assert f"removed what run {run['run_id']} had left" in other.stderr
    # The results that were not collected are still there.
    assert slow.perfctl("resume", run["run_id"]).returncode == 0
    _assert_whole(slow)
    assert slow.rows("SELECT 1 FROM v_invocation WHERE attempt > 1") == []


def _spool(project: Project, run_id: str) -> Path:
    return project.inventory_path.parent / "spool" / run_id


def test_reap_ends_what_a_killed_run_left_and_resume_still_finishes(slow: Project) -> None:
    process = _start_and_wait(slow, invocations=3)
    process.kill()
    process.communicate(timeout=30)
    (run,) = slow.rows("SELECT run_id, status FROM v_run")
    assert run["status"] == "running"

    done = slow.perfctl("reap", run["run_id"][-12:], "--format", "json")
    assert done.returncode == 0, done.stderr
    removed = json.loads(done.stdout)["rows"]
    assert {row["host"] for row in removed} == {"here"}
    kinds = {row["kind"] for row in removed}
    assert "server" in kinds
    # What it was running, or what that came to if it ended meanwhile.
    assert kinds & {"job", "result"}
    assert processes_with(MARK) == []
    assert not _spool(slow, run["run_id"]).exists()
    assert [row["status"] for row in slow.rows("SELECT status FROM v_run")] == ["interrupted"]
    kept = slow.rows("SELECT invocation_id FROM v_invocation")

    again = slow.perfctl("reap", "--all")
    assert again.returncode == 0, again.stderr
    assert "nothing was left" in again.stdout
    assert slow.rows("SELECT invocation_id FROM v_invocation") == kept
    assert slow.perfctl("resume", "latest").returncode == 0
    _assert_whole(slow)


def test_reap_leaves_a_run_alone_that_is_going_on(slow: Project) -> None:
    _last_longer(slow)
    process = _start_and_wait(slow, invocations=1)
    (run,) = slow.rows("SELECT run_id FROM v_run")
    refused = slow.perfctl("reap", run["run_id"])
    assert refused.returncode == 6, refused.stderr
    assert run["run_id"] in refused.stderr
    others = slow.perfctl("reap", "--all", "--format", "json")
    assert others.returncode == 0, others.stderr
    answer = json.loads(others.stdout)
    assert answer["rows"] == []
    assert len([note for note in answer["notes"] if run["run_id"] in note]) == 1
    process.communicate(timeout=90)
    assert process.returncode == 0


def test_reap_says_which_host_it_could_not_reach(project: Project) -> None:
    project.write_inventory(
        LOCAL.format(folder=project.folder)
        + "    gone:\n      ansible_host: 127.0.0.1\n      ansible_port: 1\n"
    )
    done = project.perfctl("run", "--suite", project.suite, "--blocks", "1")
    assert done.returncode == 3, done.stderr
    assert "gone: nothing is measured there" in done.stderr
    reaped = project.perfctl("reap", "latest")
    assert reaped.returncode == 3, reaped.stderr
    assert "gone" in reaped.stderr
    assert "here" not in reaped.stderr


@pytest.mark.parametrize("arguments", [[], ["latest", "--all"], ["nosuchrun"]])
def test_reap_needs_to_know_what(project: Project, arguments: list[str]) -> None:
    assert project.perfctl("run", "--suite", project.suite, "--blocks", "1").returncode == 0
    assert project.perfctl("reap", *arguments).returncode == 2
    assert project.perfctl("reap", "latest").returncode == 0


def test_results_that_were_stored_before_their_controller_died_are_forgotten(slow: Project) -> None:
    process = _start_and_wait(slow, invocations=3)
    process.kill()
    process.communicate(timeout=30)
    (run,) = slow.rows("SELECT run_id FROM v_run")
    stored = {row["invocation_id"] for row in slow.rows("SELECT invocation_id FROM v_invocation")}
    in_spool = {path.stem for path in (_spool(slow, run["run_id"]) / "jobs").glob("*.end")}
    assert stored <= in_spool, "acknowledged with other requests, which never came"
    assert slow.perfctl("resume", run["run_id"]).returncode == 0
    assert not _spool(slow, run["run_id"]).exists()
