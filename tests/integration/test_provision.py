"""Provisioning on the lab: real hosts, real engines, real bridges.

Each test leaves the hosts provisioned. What hurts a host goes through docker exec, not through ssh.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from perfctl.environments import launcher
from perfctl.workloads import WORKLOADS, resolve_parameters
from tests.lab import REPOSITORY, LabAtHand

pytestmark = pytest.mark.lab("both")

DOCKERFILE = REPOSITORY / "Dockerfile.perf"
IMAGE = "perfctl/perf-tools:latest"


def _rows(lab: LabAtHand, *arguments: str, exit_code: int = 0) -> list[dict[str, Any]]:
    done = lab.perfctl(*arguments, "--format", "json", timeout_s=900)
    assert done.returncode == exit_code, done.stdout + done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)["rows"]
    return rows


def _states(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["host"]: row["state"] for row in rows}


def _network(lab: LabAtHand, host: str) -> str:
    return lab.inside(host, "sh", "-c", "ip -o link; ip -o -4 addr; ip route; iptables -S FORWARD")


@pytest.fixture
def one(provisioned_lab: LabAtHand) -> str:
    """Return the name of the lab's first host."""
    return provisioned_lab.hosts[0]


# -- again -----------------------------------------------------------------------------------------


def test_a_second_time_every_host_is_current_by_its_stamp(provisioned_lab: LabAtHand) -> None:
    rows = _rows(provisioned_lab, "provision")
    assert [(row["host"], row["state"], row["changed"]) for row in rows] == [
        (host, "current", None) for host in provisioned_lab.hosts
    ]


def test_by_force_nothing_is_changed(provisioned_lab: LabAtHand) -> None:
    rows = _rows(provisioned_lab, "provision", "--force")
    assert [(row["host"], row["state"], row["changed"]) for row in rows] == [
        (host, "committed", 0) for host in provisioned_lab.hosts
    ]


def test_verify_finds_everything_as_it_was_provisioned(provisioned_lab: LabAtHand) -> None:
    rows = _rows(provisioned_lab, "verify")
    assert _states(rows) == dict.fromkeys(provisioned_lab.hosts, "as provisioned")


def test_check_and_diff_show_what_would_be_changed_and_change_nothing(
    provisioned_lab: LabAtHand, one: str
) -> None:
    before = _network(provisioned_lab, one), provisioned_lab.inside(one, "cat", "/var/lib/perfctl/stamp.json")
    done = provisioned_lab.perfctl(
        "provision", "--check", "--diff", "--limit", one, "-e", "perf_bridge_mtu=8000", timeout_s=300
    )
    assert done.returncode == 0, done.stderr
    assert "set the MTU of eth1 to 8000; pin the MTU of br1 to 8000" in done.stderr
    assert '+Environment="MTU=8000"' in done.stdout
    after = _network(provisioned_lab, one), provisioned_lab.inside(one, "cat", "/var/lib/perfctl/stamp.json")
    assert after == before


# -- what it is good for ---------------------------------------------------------------------------


def test_containers_of_two_hosts_reach_each_other_with_full_frames(provisioned_lab: LabAtHand) -> None:
    client, server = provisioned_lab.hosts
    name = "perfctl-test-peer"
    provisioned_lab.inside(server, "docker", "run", "-d", "--rm", "--name", name, IMAGE, "sleep", "300")
    try:
        address = provisioned_lab.inside(
            server, "docker", "inspect", "-f", "{{.NetworkSettings.IPAddress}}", name
        ).strip()
        ping = ["docker", "run", "--rm", IMAGE, "ping", "-M", "do", "-c", "3", "-i", "0.2", "-W", "2", "-s"]
        assert " 0% packet loss" in provisioned_lab.inside(client, *ping, "8972", address)
        too_large = subprocess.run(
            ["docker", "exec", client, *ping, "8973", address], capture_output=True, timeout=60, check=False
        )
        assert too_large.returncode != 0
    finally:
        provisioned_lab.inside(server, "docker", "rm", "-f", name)


def test_all_hosts_have_the_same_image(provisioned_lab: LabAtHand) -> None:
    ids = {
        provisioned_lab.inside(host, "docker", "image", "inspect", "-f", "{{.Id}}", IMAGE).strip()
        for host in provisioned_lab.hosts
    }
    assert len(ids) == 1
    (recorded,) = {
        json.loads(provisioned_lab.inside(host, "cat", "/var/lib/perfctl/image.json"))["id"]
        for host in provisioned_lab.hosts
    }
    assert {recorded} == ids


def test_the_program_that_measures_is_the_same_on_hosts_and_in_the_image(
    provisioned_lab: LabAtHand, one: str
) -> None:
    tool = WORKLOADS["syscalls"]
    parameters = resolve_parameters(tool, {"test": "clock-vdso", "batches": 2, "time_s": 0.01})
    (program,) = tool.programs
    digest, calls = ["sha256sum", f"/usr/local/bin/{program}"], tool.argv(parameters)
    native = {provisioned_lab.inside(host, *digest) for host in provisioned_lab.hosts}
    inside = ["docker", "run", "--rm", IMAGE]
    assert native == {provisioned_lab.inside(one, *inside, *digest)}
    for argv in (calls, [*inside, *calls]):
        assert tool.parse(provisioned_lab.inside(one, *argv), parameters)


def test_the_archive_has_every_package_of_the_image(provisioned_lab: LabAtHand, one: str) -> None:
    # The image of the tests is made of the same file with fewer of them.
    packages = " ".join(re.findall(r'(?ms)^ARG (?:TOOLS|BENCHMARKS)="(.*?)"$', DOCKERFILE.read_text()))
    names = packages.replace("\\", "").split()
    assert {"gcc", "linux-perf", "fio"} <= set(names)
    provisioned_lab.inside(one, "apt-get", "install", "--simulate", "-qq", "--no-install-recommends", *names)


def test_the_benchmarks_are_the_same_build_on_the_host_and_in_the_image(
    provisioned_lab: LabAtHand, one: str
) -> None:
    installed = [
        name for tool in WORKLOADS.values() if tool.packages and not tool.layer for name in tool.programs
    ]
    digests = ["sha256sum", f"/usr/local/bin/{launcher.PROGRAM}", *(f"/usr/bin/{name}" for name in installed)]
    native = provisioned_lab.inside(one, *digests)
    assert provisioned_lab.inside(one, "docker", "run", "--rm", IMAGE, *digests) == native


def test_a_layer_is_made_on_the_image_that_the_hosts_have(provisioned_lab: LabAtHand, tmp_path: Path) -> None:
    dockerfile = tmp_path / "small.Dockerfile"
    dockerfile.write_text("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN echo small > /layer\n")
    layer = {
        "name": "small",
        "repository": "perfctl/perf-small",
        "dockerfile": str(dockerfile),
        "packages": [],
    }
    variables = tmp_path / "layer.json"
    variables.write_text(json.dumps({"perf_layers_wanted": [layer]}))
    arguments = ("provision", "--tags", "layers", "-e", f"@{variables}")
    assert _states(_rows(provisioned_lab, *arguments)) == dict.fromkeys(provisioned_lab.hosts, "committed")
    ids = set()
    for host in provisioned_lab.hosts:
        run = ["docker", "run", "--rm", "--pull", "never", "perfctl/perf-small"]
        assert provisioned_lab.inside(host, *run, "cat", "/layer") == "small\n"
        base, own = (
            json.loads(provisioned_lab.inside(host, "docker", "image", "inspect", name))[0]
            for name in (IMAGE, "perfctl/perf-small:latest")
        )
        layers = base["RootFS"]["Layers"]
        assert own["RootFS"]["Layers"][: len(layers)] == layers
        record = json.loads(provisioned_lab.inside(host, "cat", "/var/lib/perfctl/layer-small.json"))
        assert record["id"] == own["Id"]
        ids.add(own["Id"])
        provisioned_lab.inside(host, "rm", "/var/lib/perfctl/layer-small.json")
        provisioned_lab.inside(host, "docker", "image", "rm", "-f", own["Id"])
    assert len(ids) == 1
    # What is provisioned in part has no stamp: the tests after this one begin with hosts that are current.
    assert set(_states(_rows(provisioned_lab, "provision")).values()) == {"committed"}


def test_no_netserver_waits_on_a_host(provisioned_lab: LabAtHand, one: str) -> None:
    # Debian's netperf starts one at every boot, on the port that a run uses.
    assert ":12865" not in provisioned_lab.inside(one, "ss", "-Hltn")


def test_ones_own_flags_reach_the_engine(provisioned_lab: LabAtHand, one: str) -> None:
    shown = provisioned_lab.inside(one, "sh", "-c", "tr '\\0' ' ' < /proc/$(pidof dockerd)/cmdline")
    assert "--bridge=br1 --mtu=9000 --fixed-cidr=" in shown
    unit = provisioned_lab.inside(one, "systemctl", "cat", "docker.service")
    assert "\nExecStart=\nExecStart=/usr/sbin/dockerd -H fd://" in unit


# -- drift -----------------------------------------------------------------------------------------


def test_verify_finds_drift_and_provision_puts_it_right(provisioned_lab: LabAtHand, one: str) -> None:
    other = provisioned_lab.hosts[1]
    # As an Ansible leaves it that was killed.
    left = "/root/.ansible/perfctl/ansible-tmp-1-2-3"
    provisioned_lab.inside(one, "mkdir", "-p", left)
    try:
        provisioned_lab.inside(one, "ip", "link", "set", "br1", "mtu", "1500")
        found = _rows(provisioned_lab, "verify", exit_code=7)
        assert {"host": one, "state": "br1 has MTU 1500, not 9000"} in found
        assert {"host": other, "state": "as provisioned"} in found
    finally:
        repaired = _rows(provisioned_lab, "provision", "--tags", "bridge")
    assert {row["host"]: row["changed"] for row in repaired} == {one: 2, other: 0}
    assert provisioned_lab.inside(one, "cat", "/sys/class/net/br1/mtu") == "9000\n"
    provisioned_lab.inside(one, "test", "!", "-e", left)


def test_a_path_that_is_down_is_told_from_a_wrong_mtu(provisioned_lab: LabAtHand, one: str) -> None:
    other = provisioned_lab.hosts[1]
    try:
        provisioned_lab.inside(other, "iptables", "-I", "INPUT", "-i", "br1", "-p", "icmp", "-j", "DROP")
        done = provisioned_lab.perfctl("verify", "--format", "json")
    finally:
        provisioned_lab.inside(other, "iptables", "-D", "INPUT", "-i", "br1", "-p", "icmp", "-j", "DROP")
    assert done.returncode == 7
    states = [row["state"] for row in json.loads(done.stdout)["rows"] if row["host"] == one]
    assert len(states) == 1
    assert states[0].startswith("the path to ")
    assert states[0].endswith(" is down")


# -- refusals --------------------------------------------------------------------------------------


def test_the_nic_that_carries_ssh_is_refused(provisioned_lab: LabAtHand, one: str) -> None:
    before = _network(provisioned_lab, one)
    address = provisioned_lab.inside(one, "sh", "-c", "ip -o -4 addr show eth0 | awk '{print $4}'").strip()
    variables = {
        "perf_test_interface": "eth0",
        "perf_test_address": address,
        "perf_bridge_name": "br7",
        "perf_bridge_fixed_cidr": str(address).rpartition(".")[0] + ".64/28",
        "perf_bridge_guest_range": str(address).rpartition(".")[0] + ".80/28",
    }
    done = provisioned_lab.perfctl(
        "provision", "--limit", one, "--tags", "bridge", "-e", json.dumps(variables), timeout_s=120
    )
    assert done.returncode == 7, done.stderr
    assert "the ssh session from" in done.stderr
    assert "the default route (ip -4) goes through eth0" in done.stderr
    assert _network(provisioned_lab, one) == before


@contextlib.contextmanager
def _written(lab: LabAtHand, host: str, path: str, text: str) -> Iterator[None]:
    lab.inside(host, "sh", "-c", f"mkdir -p $(dirname {path}) && printf '%s' '{text}' > {path}")
    try:
        yield
    finally:
        lab.inside(host, "rm", path)


def test_docker_settings_of_others_are_refused_and_left(provisioned_lab: LabAtHand, one: str) -> None:
    path, text = "/etc/docker/daemon.json", '{"mtu": 1400, "log-level": "warn"}'
    started = provisioned_lab.inside(one, "systemctl", "show", "-p", "MainPID", "docker.service")
    with _written(provisioned_lab, one, path, text):
        rows = _rows(provisioned_lab, "provision", "--tags", "docker", exit_code=7)
        assert provisioned_lab.inside(one, "cat", path) == text
    assert _states(rows) == {one: "refused", provisioned_lab.hosts[1]: "stopped"}
    assert 'daemon.json says {"mtu": 1400}, perfctl needs --mtu=9000' in rows[0]["message"]
    assert provisioned_lab.inside(one, "systemctl", "show", "-p", "MainPID", "docker.service") == started


def test_another_drop_in_that_sets_the_command_line_is_refused(provisioned_lab: LabAtHand, one: str) -> None:
    path = "/etc/systemd/system/docker.service.d/90-mine.conf"
    with _written(provisioned_lab, one, path, "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd\n"):
        rows = _rows(provisioned_lab, "provision", "--limit", one, "--tags", "docker", exit_code=7)
    assert rows[0]["message"] == f"{path} sets ExecStart, and is not ours"


def test_ranges_that_overlap_are_refused_before_any_host_is_asked(
    provisioned_lab: LabAtHand, tmp_path: Path
) -> None:
    inventory = yaml.safe_load(provisioned_lab.inventory.read_text())
    hosts = inventory["all"]["hosts"]
    first, second = provisioned_lab.hosts
    hosts[second]["perf_bridge_fixed_cidr"] = hosts[first]["perf_bridge_fixed_cidr"]
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
    done = LabAtHand(provisioned_lab.project_dir, tmp_path / "hosts.yml", provisioned_lab.hosts).perfctl(
        "provision"
    )
    assert done.returncode == 7
    assert "overlap" in done.stderr


# -- failures --------------------------------------------------------------------------------------


def test_a_failure_is_told_in_the_modules_words_with_host_and_task(
    provisioned_lab: LabAtHand, one: str
) -> None:
    extra = '{"perf_tools_extra_packages": ["no-such-package"]}'
    sources = ("sh", "-c", "cd /etc/apt/sources.list.d && ls && cat *")
    before = provisioned_lab.inside(one, *sources)
    try:
        done = provisioned_lab.perfctl(
            "provision", "--limit", one, "--tags", "tools", "-e", extra, timeout_s=300
        )
        assert done.returncode == 3, done.stdout
        assert "Unable to locate package no-such-package" in done.stderr
        assert f"{one}, task 'perf_tools: Install the packages'" in done.stderr
        # A source that did not help is not kept.
        assert provisioned_lab.inside(one, *sources) == before
        # What it is now is neither the old state nor the new one.
        assert "stamp.json" not in provisioned_lab.inside(one, "ls", "/var/lib/perfctl")
    finally:
        rows = _rows(provisioned_lab, "provision")
    assert _states(rows) == {one: "committed", provisioned_lab.hosts[1]: "current"}


def test_a_host_that_is_down_does_not_stop_the_others(provisioned_lab: LabAtHand, tmp_path: Path) -> None:
    inventory = yaml.safe_load(provisioned_lab.inventory.read_text())
    inventory["all"]["hosts"]["gone"] = {"ansible_host": "127.0.0.1", "ansible_port": 1}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
    fleet = LabAtHand(provisioned_lab.project_dir, tmp_path / "hosts.yml", provisioned_lab.hosts)
    rows = _rows(fleet, "provision", exit_code=3)
    assert _states(rows) == dict.fromkeys(provisioned_lab.hosts, "current") | {"gone": "unreachable"}
    assert _states(_rows(fleet, "provision", "--limit", "gone", exit_code=4)) == {"gone": "unreachable"}


# -- a boot ----------------------------------------------------------------------------------------


def test_after_a_boot_everything_is_there_again(provisioned_lab: LabAtHand) -> None:
    last = provisioned_lab.hosts[-1]
    subprocess.run(["docker", "restart", last], capture_output=True, timeout=120, check=True)
    _wait_until_running(provisioned_lab, last)
    rows = _rows(provisioned_lab, "verify")
    assert _states(rows) == dict.fromkeys(provisioned_lab.hosts, "as provisioned")


def _wait_until_running(lab: LabAtHand, host: str) -> None:
    """Wait until systemd has started everything and sshd lets us in."""
    for _ in range(120):
        ready = "systemctl is-system-running --quiet && docker version > /dev/null && [ ! -e /run/nologin ]"
        asked = subprocess.run(
            ["docker", "exec", host, "sh", "-c", ready], capture_output=True, timeout=60, check=False
        )
        if asked.returncode == 0:
            return
        time.sleep(0.5)
    pytest.fail(f"{host} did not come up again")
