"""A host with control groups of version 2 alone, without controllers: measured, counted, never "limited"."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator

import pytest

from perfctl.inventory import load_hosts
from perfctl.job import JobShell
from perfctl.model import new_id
from perfctl.ssh import connect
from perfctl.validity.counter_files import own_groups, parse_files
from tests.e2e.conftest import Project
from tests.e2e.guests import artifacts, own_rows, project_of
from tests.lab import LabAtHand

pytestmark = pytest.mark.lab("fourth")

LIMITS = {"memory": "memory_mib = 64", "quota": "cpu_quota = 0.5", "cpus": 'cpuset_cpus = "0"'}
KINDS = ("native", "container")
SUITE = """\
[suite]
name = "v2"
description = "One benchmark with and without limits."
baseline = "native"
environments = ["native", "container", {names}]
blocks = 1

{environments}
[[benchmark]]
name = "cpu"
workload = "sysbench"
parameters = {{ test = "cpu", threads = 1, time_s = 2 }}
"""


@pytest.fixture(scope="module")
def measured_run(fourth_host: LabAtHand, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with a run in every environment that this host may or may not have."""
    folder = tmp_path_factory.mktemp("v2")
    limited = {f"{kind}-{name}": (kind, key) for kind in KINDS for name, key in LIMITS.items()}
    text = SUITE.format(
        names=", ".join(f'"{name}"' for name in limited),
        environments="".join(
            f'[environments.{name}]\nkind = "{kind}"\n{key}\n' for name, (kind, key) in limited.items()
        ),
    )
    (folder / "v2.toml").write_text(text)
    project = project_of(fourth_host, folder)
    done = project.perfctl("run", "--suite", str(folder / "v2.toml"), timeout_s=300)
    assert done.returncode in (0, 3), done.stderr
    return project


@pytest.fixture
def run_id() -> str:
    """Return a run's id."""
    return new_id()


@pytest.fixture
def jobs(fourth_host: LabAtHand, run_id: str) -> Iterator[JobShell]:
    """Return the job shell of a run on the host."""
    transport = connect(load_hosts([str(fourth_host.inventory)])[0])
    made = JobShell.start(transport, run_id, lifetime_s=300)
    yield made
    made.stop()
    transport.close()


def test_status_lists_what_each_host_of_a_lab_is(fourth_host: LabAtHand) -> None:
    done = fourth_host.perfctl("lab", "status", "--name", "perfctl-more", "--format", "json")
    rows = json.loads(done.stdout)["rows"]
    assert [(row["release"], row["cgroup"]) for row in rows] == [("13", "machine"), ("12", "v2")]


def test_systemd_and_docker_work_with_version_2(fourth_host: LabAtHand) -> None:
    (host,) = fourth_host.hosts
    assert fourth_host.inside(host, "stat", "-f", "-c", "%T", "/sys/fs/cgroup") == "cgroup2fs\n"
    info = fourth_host.inside(host, "docker", "info", "--format", "{{.CgroupVersion}} {{.CgroupDriver}}")
    assert info == "2 systemd\n"


def test_what_nothing_can_hold_is_skipped_with_the_reason_and_the_rest_is_measured(
    measured_run: Project,
) -> None:
    rows = measured_run.rows("SELECT environment, status, reason, detail FROM v_invocation")
    found = {row["environment"]: row for row in rows}
    # CPUs of a native command are bound by its affinity, which needs no control group.
    ok = {name for name, row in found.items() if row["status"] == "ok"}
    assert ok == {"native", "container", "native-cpus"}
    for name in found.keys() - ok:
        assert (found[name]["status"], found[name]["reason"]) == ("skipped", "environment_unavailable"), name
    words = "not in force: control groups there are of version 2, without the controller"
    assert f"the limit of 64 MiB is {words} memory" in found["native-memory"]["detail"]
    assert f"the quota of 0.5 CPUs is {words} cpu" in found["native-quota"]["detail"]
    assert "discarded" in found["container-memory"]["detail"]
    assert "discarded" in found["container-cpus"]["detail"]
    assert "container-quota" in found


def test_facts_say_which_version_and_that_it_has_no_controllers(measured_run: Project) -> None:
    sql = (
        "SELECT environment, facts_json FROM fingerprint JOIN v_invocation USING (fingerprint_id) "
        "WHERE status = 'ok'"
    )
    with sqlite3.connect(f"file:{measured_run.database}?mode=ro", uri=True) as connection:
        rows = connection.execute(sql).fetchall()
    assert {environment for environment, _ in rows} == {"native", "container", "native-cpus"}
    for _, text in rows:
        facts = {name.removeprefix("environment."): (state, value) for name, state, value in json.loads(text)}
        assert facts["cgroup.version"] == ("present", "2")
        assert facts["cgroup.controllers"] == ("present", "")
        assert facts["cgroup.memory_max"][0] == facts["cgroup.cpu_max"][0] == "missing"


def test_the_host_sees_whose_processes_are_the_environments(measured_run: Project) -> None:
    for environment in ("native", "container"):
        views = artifacts(measured_run, "host_view", environment)
        assert views
        assert "sysbench" in {row[6] for view in views for row in own_rows(view)}
        assert all(view.splitlines()[-1].startswith("environment\t") for view in views)


def test_the_time_of_a_job_is_counted_by_its_own_group(jobs: JobShell, run_id: str) -> None:
    done = jobs.run(["timeout", "1", "sh", "-c", "while :; do :; done"], timeout_s=30)
    before, after = (own_groups(parse_files(text)) for text in (done.counters_before, done.counters_after))
    (group,) = after
    assert group.endswith(f"/perfctl-{run_id}.service")
    assert after[group] - before[group] > 100_000
