"""Ctrl-C, SIGTERM and kill -9: what was measured is kept, nothing stays behind, resume does the rest."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import Project, end, processes_with, wait_until

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


def _invocations(project: Project) -> int:
    if not project.database.exists():
        return 0
    try:
        with sqlite3.connect(f"file:{project.database}?mode=ro", uri=True) as connection:
            (count,) = connection.execute("SELECT count(*) FROM invocation").fetchone()
            return int(count)
    except sqlite3.OperationalError:
        return 0


def _start_and_wait(project: Project, invocations: int) -> subprocess.Popen[str]:
    """Start a run and return when so many invocations are stored and the next one is running."""
    process = project.start("run", "--suite", project.suite)
    wait_until(
        lambda: (
            (_invocations(project) >= invocations and bool(processes_with(MARK)))
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


def test_a_second_run_on_a_leased_host_is_refused_and_harms_nothing(slow: Project) -> None:
    process = _start_and_wait(slow, invocations=1)
    (first,) = slow.rows("SELECT run_id FROM v_run")
    for arguments in (["run", "--suite", slow.suite], ["resume", first["run_id"]]):
        done = slow.perfctl(*arguments)
        assert done.returncode == 6, done.stderr
        assert first["run_id"] in done.stderr
    process.communicate(timeout=90)
    assert process.returncode == 0
    runs = slow.rows("SELECT run_id, status FROM v_run ORDER BY run_id")
    assert [row["status"] for row in runs] == ["complete", "interrupted"]
    assert runs[0]["run_id"] == first["run_id"]
