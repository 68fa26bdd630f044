"""Runs with real guests: one table for native, container and vm, and nothing left on the hosts afterwards."""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from perfctl.environments import left_behind
from perfctl.inventory import load_hosts
from perfctl.ssh import connect
from perfctl.store import open_store
from tests.conftest import LabAtHand
from tests.e2e.conftest import Project, end, wait_until

pytestmark = pytest.mark.lab

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
        return [store.artifact(row["sha256"]).decode() for row in rows]


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


@pytest.fixture(scope="module")
def vm_lab(provisioned_lab: LabAtHand) -> LabAtHand:
    """Return a lab whose hosts can have guests."""
    for host in provisioned_lab.hosts:
        provisioned_lab.inside(host, "test", "-e", "/var/lib/perfctl/vm/image/manifest.json")
    return provisioned_lab


def measured(lab: LabAtHand, folder: Path, *arguments: str) -> Project:
    """Return a project with one complete run."""
    project = project_of(lab, folder)
    done = project.perfctl("run", *arguments, "--blocks", "1", timeout_s=900)
    assert done.returncode == 0, done.stderr
    assert anything_left_on(lab, run_id(project)) == NOTHING
    return project


ALL_THREE = ("--env", "native", "--env", "container", "--env", "vm")


@pytest.fixture(scope="module")
def cpu(vm_lab: LabAtHand, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a run of the built-in suite cpu."""
    briefly = ("--param", "time_s=1", "--param", "mutex_locks=2000")
    return measured(vm_lab, tmp_path_factory.mktemp("cpu"), "--suite", "cpu", *ALL_THREE, *briefly)


@pytest.fixture(scope="module")
def net(vm_lab: LabAtHand, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a run of the built-in suite net."""
    return measured(
        vm_lab, tmp_path_factory.mktemp("net"), "--suite", "net", *ALL_THREE, "--param", "time_s=1"
    )


@pytest.fixture(scope="module", params=["cpu", "net"])
def built_in(request: pytest.FixtureRequest) -> Project:
    """Return each of the two runs."""
    project: Project = request.getfixturevalue(request.param)
    return project


# ---- one table ---------------------------------------------------------------------------------------------


def test_one_table_has_every_environment_with_its_values(built_in: Project) -> None:
    values = built_in.rows(
        "SELECT benchmark, target, environment, value FROM v_value WHERE is_headline AND replicate = 1"
    )
    measured_pairs = {(row["benchmark"], row["target"]) for row in values}
    assert len(measured_pairs) in (4 * 2, 6)
    listing = json.loads(built_in.perfctl("compare", "latest", "--format", "json").stdout)
    for environment in ("container", "vm"):
        own = [row for row in values if row["environment"] == environment]
        assert {(row["benchmark"], row["target"]) for row in own} == measured_pairs
        assert all(row["value"] > 0 for row in own)
        # A busy machine makes values invalid: their lines are there without them.
        rows = [row for row in listing["rows"] if row["environment"] == environment]
        assert measured_pairs <= {(row["benchmark"], row["target"]) for row in rows}
    done = built_in.perfctl("compare", "latest")
    assert done.returncode == 0, done.stderr
    for environment in ("native", "container", "vm"):
        assert environment in done.stdout


def test_every_invocation_says_what_it_ran_with(built_in: Project) -> None:
    rows = built_in.rows("SELECT environment, accelerator, status, fingerprint_id FROM v_invocation")
    assert {row["status"] for row in rows} == {"ok"}
    assert all(row["fingerprint_id"] for row in rows)
    accelerators = {(row["environment"], row["accelerator"]) for row in rows}
    assert accelerators in [
        {("native", None), ("container", None), ("vm", accelerator)} for accelerator in ("tcg", "kvm")
    ]


def test_every_guest_was_booted_for_its_own_invocation(built_in: Project) -> None:
    consoles = artifacts(built_in, "console", "vm")
    definitions = artifacts(built_in, "domain_xml", "vm")
    invocations = built_in.rows("SELECT 1 FROM v_invocation WHERE environment = 'vm'")
    assert len(consoles) == len(definitions) == len(invocations)
    assert len(set(definitions)) == len(definitions)
    assert all("perfctl: ssh" in console for console in consoles)
    assert artifacts(built_in, "console", "native") == artifacts(built_in, "console", "container") == []


def test_the_console_of_a_server_is_kept_too(net: Project) -> None:
    servers = artifacts(net, "server_domain_xml", "vm")
    assert len(servers) == 6
    assert not set(servers) & set(artifacts(net, "domain_xml", "vm"))


def test_the_host_saw_a_containers_processes_and_a_guests_threads(cpu: Project) -> None:
    names: dict[str, set[str]] = {}
    for environment in ("native", "container", "vm"):
        views = artifacts(cpu, "host_view", environment)
        assert views
        names[environment] = {row[6] for view in views for row in own_rows(view)}
        assert all(view.splitlines()[-1].startswith("environment\t") for view in views)
    assert "sysbench" in names["native"]
    assert "sysbench" in names["container"]
    assert any(name.startswith("CPU 0/") for name in names["vm"]), names["vm"]
    assert "sysbench" not in names["vm"]


def test_guests_talk_to_guests_with_large_frames(net: Project, vm_lab: LabAtHand) -> None:
    assert {len(ranges) for ranges in guest_ranges(vm_lab).values()} == {1}
    servers = server_addresses(net)
    ranges = [network for networks in guest_ranges(vm_lab).values() for network in networks]
    assert any(servers["vm"] in network for network in ranges)
    assert not any(servers["container"] in network for network in ranges)
    facts = path_facts(net)
    assert facts
    assert {value for name, value in facts if name.endswith("mtu_bytes")} == {"9000"}
    assert {value for name, value in facts if name.endswith("mtu_ping")} == {"ok"}


def guest_ranges(lab: LabAtHand) -> dict[str, list[Any]]:
    """Return the addresses that guests have on each host."""
    return {
        host: [
            ipaddress.ip_network(
                json.loads(lab.inside(host, "cat", "/var/lib/perfctl/vm/host.json"))["guest_range"]
            )
        ]
        for host in lab.hosts
    }


def server_addresses(project: Project) -> dict[str, Any]:
    """Return an address that was connected to from each environment."""
    found = {}
    for row in project.rows("SELECT environment, argv_json FROM v_invocation WHERE workload = 'netperf'"):
        argv: list[str] = json.loads(row["argv_json"])
        found[row["environment"]] = ipaddress.ip_address(argv[argv.index("-H") + 1])
    return found


def path_facts(project: Project) -> list[tuple[str, str]]:
    """Return what was found out inside guests about the way to the other host."""
    sql = (
        "SELECT facts_json FROM fingerprint WHERE fingerprint_id IN (SELECT fingerprint_id FROM v_invocation "
        "WHERE environment = 'vm')"
    )
    with sqlite3.connect(f"file:{project.database}?mode=ro", uri=True) as connection:
        facts = [fact for (text,) in connection.execute(sql) for fact in json.loads(text)]
    return [(name, value) for name, _, value in facts if name.startswith("environment.path.")]


# ---- clients and servers in different environments ---------------------------------------------------------


def test_guests_talk_to_containers_and_to_hosts_and_so_do_containers_in_guests(
    vm_lab: LabAtHand, tmp_path: Path
) -> None:
    project = project_of(vm_lab, tmp_path)
    names = ("vm-to-native", "vm-to-container", "container-in-vm")
    options = [word for name in names for word in ("--env", name)]
    path = suite(project, "rr", "netperf", '{ test = "TCP_RR", time_s = 1 }')
    measured(vm_lab, tmp_path, "--suite", path, "--env", "native", *options)
    rates = project.rows(
        "SELECT environment, value FROM v_value WHERE metric = 'transactions_per_second' AND status = 'ok'"
    )
    assert {row["environment"] for row in rates} == {"native", *names}
    assert all(row["value"] > 0 for row in rates)
    servers = server_addresses(project)
    hosts = {host.network_address for host in load_hosts([str(vm_lab.inventory)])}
    ranges = [network for networks in guest_ranges(vm_lab).values() for network in networks]
    assert str(servers["native"]) in hosts
    assert str(servers["vm-to-native"]) in hosts
    assert str(servers["vm-to-container"]) not in hosts
    assert not any(servers["vm-to-container"] in network for network in ranges)
    assert any(servers["container-in-vm"] in network for network in ranges)
    accelerators = project.rows("SELECT DISTINCT environment, accelerator FROM v_invocation")
    assert all((row["accelerator"] is None) == (row["environment"] == "native") for row in accelerators)


# ---- what a start costs ------------------------------------------------------------------------------------


def test_a_start_is_timed_step_by_step_in_every_environment(vm_lab: LabAtHand, tmp_path: Path) -> None:
    options = ("--suite", "startup", *ALL_THREE, "--env", "container-in-vm", "--limit", vm_lab.hosts[0])
    project = measured(vm_lab, tmp_path, *options)
    steps: dict[str, dict[str, float]] = {}
    for row in project.rows("SELECT environment, metric, value FROM v_value WHERE replicate = 1"):
        steps.setdefault(row["environment"], {})[row["metric"]] = row["value"]
    assert set(steps["native"]) == {"ready"}
    assert set(steps["container"]) == {"made", "ready"}
    assert set(steps["vm"]) == {"kernel", "ssh", "ready"}
    assert set(steps["container-in-vm"]) == {"kernel", "ssh", "made", "ready"}
    for name in ("container", "vm", "container-in-vm"):
        ordered = [steps[name][step] for step in ("kernel", "ssh", "made", "ready") if step in steps[name]]
        assert ordered == sorted(ordered)
        assert ordered[0] > steps["native"]["ready"]
    (report,) = artifacts(project, "stdout", "vm")
    assert report.startswith("steps: kernel ssh\nkernel: ")


# ---- what goes wrong ---------------------------------------------------------------------------------------


@pytest.fixture
def slow(vm_lab: LabAtHand, tmp_path: Path) -> Project:
    """Return a project whose benchmark gives one time to do harm."""
    project = project_of(vm_lab, tmp_path)
    Path(project.suite).write_text(
        ONE_BENCHMARK.format(
            name="slow", workload="sysbench", parameters='{ test = "cpu", threads = 1, time_s = 8 }'
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


# Over the connection that perfctl itself holds open; without one there is nobody to ask.
_IN_GUEST = 'timeout 20 ssh -S "/var/lib/perfctl/vm/guests/$0/ssh" guest "$@" || true'


def is_measuring(lab: LabAtHand, project: Project) -> bool:
    """Whether the benchmark runs inside the guest."""
    name = guest_of(lab, project)
    if not name:
        return False
    # The brackets keep it from finding itself.
    said = lab.inside(lab.hosts[0], "sh", "-c", _IN_GUEST, name, "pgrep -f '[-]-time=8'")
    return bool(said.strip())


def start_in_guest(lab: LabAtHand, project: Project) -> Any:
    """Start the slow run on the first host, in a guest and natively."""
    return project.start("run", "--suite", project.suite, "--limit", lab.hosts[0], "--blocks", "1")


def test_the_console_of_a_guest_that_panics_is_kept(vm_lab: LabAtHand, slow: Project) -> None:
    process = start_in_guest(vm_lab, slow)
    wait_until(lambda: is_measuring(vm_lab, slow) or process.poll() is not None, "a guest that measures", 300)
    vm_lab.inside(
        vm_lab.hosts[0],
        "sh",
        "-c",
        _IN_GUEST,
        guest_of(vm_lab, slow),
        "echo c >/proc/sysrq-trigger",
        timeout_s=60,
    )
    _, stderr = process.communicate(timeout=300)
    # The block is run again, and comes to its end with another guest.
    assert process.returncode == 0, stderr
    (row,) = slow.rows("SELECT reason, detail, accelerator FROM v_invocation WHERE status != 'ok'")
    assert row["reason"] == "guest_panicked"
    assert row["accelerator"] in ("tcg", "kvm")
    console = next(text for text in artifacts(slow, "console", "vm") if "panic" in text)
    assert "Kernel panic - not syncing: sysrq triggered crash" in console
    assert anything_left_on(vm_lab, run_id(slow)) == NOTHING


def test_ctrl_c_takes_the_guest_along_that_boots(vm_lab: LabAtHand, slow: Project) -> None:
    process = start_in_guest(vm_lab, slow)
    wait_until(lambda: bool(guest_of(vm_lab, slow)), "a guest", 300)
    code, _, stderr = end(process, signal.SIGINT)
    assert code == 130, stderr
    assert "perfctl resume" in stderr
    assert anything_left_on(vm_lab, run_id(slow)) == NOTHING


def test_a_killed_run_is_reaped_with_its_guest_while_that_boots(vm_lab: LabAtHand, slow: Project) -> None:
    process = start_in_guest(vm_lab, slow)
    wait_until(lambda: bool(guest_of(vm_lab, slow)), "a guest", 300)
    process.kill()
    process.communicate(timeout=30)
    run = run_id(slow)
    refused = slow.perfctl("reap", "--all", "--format", "json")
    assert refused.returncode == 0, refused.stderr
    assert anything_left_on(vm_lab, run) == NOTHING
    kinds = {row["kind"] for row in json.loads(refused.stdout)["rows"]}
    assert kinds >= {"server", "environment"}
    assert slow.perfctl("reap", run, "--format", "json").returncode == 0


def test_a_run_killed_while_a_guest_measures_is_resumed(vm_lab: LabAtHand, slow: Project) -> None:
    process = start_in_guest(vm_lab, slow)
    wait_until(lambda: is_measuring(vm_lab, slow) or process.poll() is not None, "a guest that measures", 300)
    process.kill()
    process.communicate(timeout=30)
    done = slow.perfctl("resume", "latest", timeout_s=600)
    assert done.returncode == 0, done.stderr
    whole = slow.rows("SELECT environment, status FROM v_invocation WHERE block_status = 'complete'")
    assert sorted(row["environment"] for row in whole) == ["native", "native", "vm"]
    assert {row["status"] for row in whole} == {"ok"}
    assert anything_left_on(vm_lab, run_id(slow)) == NOTHING
