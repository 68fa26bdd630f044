"""Every bad input named in the issue: a clear error, its exit code, and nothing lost."""

from __future__ import annotations

import socket
import sqlite3
from pathlib import Path

import pytest

from tests.e2e.conftest import LOCAL, Project


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (["run", "--suite", "cpuu"], 2, "cpu"),
        (["run", "--suite", "cpu", "--env", "contianer"], 2, "container"),
        (["run", "--suite", "cpu", "--param", "time_s=soon"], 2, "time_s"),
        (["run", "--suite", "cpu", "--param", "colour=red"], 2, "colour"),
        (["run", "--suite", "cpu", "--limit", "nowhere"], 4, "nowhere"),
        (["run", "--suite", "net"], 2, "two hosts"),
        (["show", "0192"], 8, ""),
        (["frobnicate"], 2, "frobnicate"),
    ],
)
def test_what_does_not_exist_is_said(
    project: Project, arguments: list[str], exit_code: int, words: str
) -> None:
    done = project.perfctl(*arguments)
    assert done.returncode == exit_code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("blocks = 2", "block = 2", "blocks"),
        ("blocks = 2", 'blocks = "two"', "blocks"),
        ("time_s = 1", "time = 1", "time_s"),
        ("time_s = 1", 'time_s = "1m"', "time_s"),
        ('workload = "sysbench"', 'workload = "sysbnech"', "sysbench"),
        ("[suite]", "[suite", "brief.toml"),
    ],
)
def test_a_wrong_suite_file_names_file_and_key(project: Project, old: str, new: str, words: str) -> None:
    path = Path(project.suite)
    path.write_text(path.read_text().replace(old, new))
    done = project.perfctl("run", "--suite", project.suite)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "brief.toml" in done.stderr


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_when_no_host_answers_nothing_runs(project: Project) -> None:
    project.write_inventory(
        f"all:\n  hosts:\n    gone:\n      ansible_host: 127.0.0.1\n      ansible_port: {_closed_port()}\n"
    )
    done = project.perfctl("run", "--suite", project.suite)
    assert done.returncode == 4, done.stderr
    assert "gone" in done.stderr


def test_one_host_that_does_not_answer_does_not_stop_the_other(project: Project) -> None:
    project.write_inventory(
        LOCAL.format(folder=project.folder)
        + f"    gone:\n      ansible_host: 127.0.0.1\n      ansible_port: {_closed_port()}\n"
    )
    done = project.perfctl("run", "--suite", project.suite)
    assert done.returncode == 3, done.stderr
    rows = project.rows("SELECT host, status, reason, count(*) AS n FROM v_invocation GROUP BY 1, 2, 3")
    found = {(row["host"], row["status"], row["reason"]): row["n"] for row in rows}
    assert found == {("here", "ok", None): 4, ("gone", "failed", "unreachable"): 4}


def test_an_environment_whose_image_is_missing_is_said_and_never_left_out(project: Project) -> None:
    suite = Path(project.suite)
    text = suite.read_text().replace('["native"]', '["native", "nowhere"]')
    suite.write_text(text + '\n[environments.nowhere]\nkind = "container"\nimage = "perfctl/none:none"\n')
    done = project.perfctl("run", "--suite", project.suite)
    assert done.returncode == 3, done.stderr
    assert "not available" in done.stderr
    rows = project.rows(
        "SELECT environment, status, reason, count(*) AS n FROM v_invocation GROUP BY 1, 2, 3"
    )
    found = {(row["environment"], row["status"], row["reason"]): row["n"] for row in rows}
    assert found == {("native", "ok", None): 4, ("nowhere", "failed", "environment_not_made"): 2}


def test_a_database_of_a_newer_schema_is_refused_and_untouched(project: Project) -> None:
    assert project.perfctl("run", "--suite", project.suite, "--blocks", "1").returncode == 0
    with sqlite3.connect(project.database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999_from_the_future'")
    done = project.perfctl("run", "--suite", project.suite, "--blocks", "1")
    assert done.returncode == 8, done.stderr
    with sqlite3.connect(project.database) as connection:
        assert connection.execute("SELECT count(*) FROM run").fetchone() == (1,)


def test_a_locked_database_is_said_and_loses_nothing(project: Project) -> None:
    assert project.perfctl("run", "--suite", project.suite, "--blocks", "1").returncode == 0
    connection = sqlite3.connect(project.database, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        done = project.perfctl("run", "--suite", project.suite, "--blocks", "1")
    finally:
        connection.rollback()
        connection.close()
    assert done.returncode == 8, done.stderr
    assert "locked" in done.stderr
    assert len(project.rows("SELECT 1 FROM v_run")) == 1


def test_what_is_no_database_is_refused_and_untouched(project: Project) -> None:
    project.database.write_text("my shopping list\n")
    done = project.perfctl("run", "--suite", project.suite)
    assert done.returncode == 8, done.stderr
    assert project.database.read_text() == "my shopping list\n"
