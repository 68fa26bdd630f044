"""The host's view of a run on this machine: kept with each invocation, unless it is not wanted."""

from __future__ import annotations

from pathlib import Path

from perfctl.store import open_store
from tests.e2e.conftest import Project


def views(project: Project) -> list[str]:
    rows = project.rows("SELECT sha256 FROM v_artifact WHERE name = 'host_view'")
    with open_store(project.database, read_only=True) as store:
        return [store.run("latest").artifact(row["sha256"]).decode() for row in rows]


def test_every_invocation_has_the_hosts_view_with_its_own_processes(project: Project) -> None:
    # Long enough to be looked at half way.
    suite = project.folder / "longer.toml"
    suite.write_text(Path(project.suite).read_text().replace("time_s = 1", "time_s = 2"))
    done = project.perfctl("run", "--suite", str(suite), "--blocks", "1")
    assert done.returncode == 0, done.stderr
    found = views(project)
    assert len(found) == 2
    for view in found:
        half = view.partition("==> half way, after ")[2].partition("==> after its end <==")[0]
        assert float(half.partition(" s")[0]) >= 1
        own = [line.split("\t") for line in half.splitlines() if "\tyes\t" in line]
        assert [row[6] for row in own] == ["sysbench"]
        totals = dict(line.split("\t", 1) for line in view.partition("==> in all <==\n")[2].splitlines())
        assert totals["command"] == totals["environment"]


def test_nobody_looks_when_that_is_not_wanted(project: Project) -> None:
    done = project.perfctl("run", "--suite", project.suite, "--blocks", "1", "--no-host-view")
    assert done.returncode == 0, done.stderr
    assert views(project) == []


def test_a_start_is_never_looked_at(project: Project) -> None:
    done = project.perfctl("run", "--suite", "startup", "--env", "native", "--blocks", "1")
    assert done.returncode == 0, done.stderr
    assert views(project) == []
    (row,) = project.rows("SELECT DISTINCT metric, unit FROM v_value")
    assert row == {"metric": "ready", "unit": "s"}
    assert all(row["value"] > 0 for row in project.rows("SELECT value FROM v_value"))
