"""What tests of runs with guests share: projects on the lab, what a run kept, what it left on the hosts."""

from __future__ import annotations

import os
from pathlib import Path

from perfctl.environments.vm import left_behind
from perfctl.inventory import load_hosts
from perfctl.ssh import connect
from perfctl.store import open_store
from tests.e2e.conftest import Project
from tests.lab import LabAtHand

ONE_BENCHMARK = """\
[suite]
name = "{name}"
description = "One benchmark, for the tests."
baseline = "native"
environments = ["native", "vm"]
blocks = 1

[[benchmark]]
name = "{name}"
workload = "{workload}"
parameters = {parameters}
"""


def project_of(lab: LabAtHand, folder: Path) -> Project:
    """Return a project on the lab that measures on busy hosts, too."""
    return Project(folder, lab.inventory, dict(os.environ, PERFCTL_FORCE="1"))


def suite(project: Project, name: str, workload: str, parameters: str = "{}") -> str:
    """Write a suite of one benchmark and return its path."""
    path = project.folder / f"{name}.toml"
    path.write_text(ONE_BENCHMARK.format(name=name, workload=workload, parameters=parameters))
    return str(path)


def run_id(project: Project) -> str:
    """Return the id of the project's latest run."""
    return str(project.rows("SELECT run_id FROM v_run ORDER BY started DESC, run_id DESC")[0]["run_id"])


def artifacts(project: Project, name: str, environment: str) -> list[str]:
    """Return the texts that were kept under this name of the invocations in an environment."""
    rows = project.rows(
        "SELECT sha256 FROM v_artifact JOIN v_invocation USING (invocation_id) "
        f"WHERE name = '{name}' AND environment = '{environment}'"
    )
    with open_store(project.database, read_only=True) as store:
        return [store.run("latest").artifact(row["sha256"]).decode() for row in rows]


def own_rows(view: str) -> list[list[str]]:
    """Return the lines of a host's view that belong to the environment."""
    return [
        fields for line in view.splitlines() if len(fields := line.split("\t")) > 5 and fields[5] == "yes"
    ]


def left_on(lab: LabAtHand, run: str) -> dict[str, list[str]]:
    """Return what of a run's guests and containers still stands on each host."""
    left = {}
    for host in load_hosts([str(lab.inventory)]):
        transport = connect(host)
        label = ["docker", "ps", "-aq", "--filter", f"label=perfctl.run={run}"]
        left[host.name] = left_behind(transport, run) + transport.run(label, timeout_s=60).text.split()
        transport.close()
    return left


NOTHING: dict[str, list[str]] = {}


def anything_left_on(lab: LabAtHand, run: str) -> dict[str, list[str]]:
    """Return the hosts with anything left."""
    return {name: left for name, left in left_on(lab, run).items() if left}


def measured(lab: LabAtHand, folder: Path, *arguments: str) -> Project:
    """Return a project with one complete run."""
    project = project_of(lab, folder)
    done = project.perfctl("run", *arguments, "--blocks", "1", timeout_s=900)
    assert done.returncode == 0, done.stderr
    assert anything_left_on(lab, run_id(project)) == NOTHING
    return project


ALL_THREE = ("--env", "native", "--env", "container", "--env", "vm")
