"""A lab as `perfctl lab up` leaves it: real hosts, real ssh, real engines, and nothing left after `down`.

The first tests look at the shared lab and change nothing. The others have a light lab of their own to hurt.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from perfctl.errors import Refused
from perfctl.lab import HostStatus, LabRequest, down, status, up
from perfctl.model import Note
from perfctl.playbook import run_playbook
from tests.lab import INVENTORY, LabAtHand
from tests.processes import wait_until

# What these do to the shared lab disturbs nobody; what hurts is done to a lab of their own.
pytestmark = pytest.mark.lab("engine", stage="up")

LIGHT = LabRequest("perfctl-light", 1, True, "172.31.242.0/24", "10.243.0.0/16")


def _docker(*argv: str) -> str:
    done = subprocess.run(["docker", *argv], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def _ansible(inventory: Path, *argv: str) -> str:
    program = str(Path(sys.executable).with_name("ansible"))
    done = subprocess.run(
        [program, "-i", str(inventory), "all", *argv],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# -- the shared lab ---------------------------------------------------------------------------------------


def test_status_tells_that_every_host_is_ready(lab: LabAtHand) -> None:
    done = lab.perfctl("lab", "status", "--name", "perfctl-test", "--format", "json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [(row["host"], row["container"], row["ssh"]) for row in rows] == [
        ("perfctl-test-1", "running", "ok"),
        ("perfctl-test-2", "running", "ok"),
    ]
    # Degraded where tests before this one have made a unit fail.
    assert {row["system"] for row in rows} <= {"running", "degraded"}


def test_no_unit_of_ours_has_failed_on_a_host(lab: LabAtHand) -> None:
    for host in lab.hosts:
        failed = lab.inside(host, "systemctl", "list-units", "--failed", "--plain", "--no-legend")
        assert not [line for line in failed.splitlines() if "perfctl" in line]


def test_plain_ansible_reaches_the_hosts_with_the_written_inventory(lab: LabAtHand) -> None:
    output = _ansible(INVENTORY, "-m", "ansible.builtin.ping")
    assert output.count("SUCCESS") == 2


def test_hosts_are_machines_of_their_own(lab: LabAtHand) -> None:
    machine_ids = {lab.inside(host, "cat", "/etc/machine-id").strip() for host in lab.hosts}
    host_keys = {lab.inside(host, "cat", "/etc/ssh/ssh_host_ed25519_key.pub") for host in lab.hosts}
    assert len(machine_ids) == len(host_keys) == 2
    assert all(len(machine_id) == 32 for machine_id in machine_ids)


def test_the_test_network_is_eth1_and_carries_jumbo_frames(lab: LabAtHand) -> None:
    host, peer = lab.hosts
    assert int(lab.inside(host, "cat", "/sys/class/net/eth1/mtu")) == 9000
    lab.inside(host, "ping", "-c", "1", "-W", "5", "-M", "do", "-s", "8972", "10.242.0.12")
    too_large = subprocess.run(
        ["docker", "exec", host, "ping", "-c", "1", "-W", "2", "-M", "do", "-s", "8973", "10.242.0.12"],
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert too_large.returncode != 0
    assert peer == "perfctl-test-2"


def test_hosts_have_addresses_for_guests_and_the_machines_own_devices(lab: LabAtHand) -> None:
    inventory = yaml.safe_load(lab.inventory.read_text())["all"]
    assert inventory["vars"]["perf_vm_host"] is True
    ranges = [host["perf_bridge_guest_range"] for host in inventory["hosts"].values()]
    assert ranges == ["10.242.1.128/25", "10.242.2.128/25"]
    for device in ("/dev/net/tun", "/dev/kvm", "/dev/vhost-net"):
        inside = lab.inside(lab.hosts[0], "sh", "-c", f"test -c {device} && echo there || echo not there")
        assert inside == ("there\n" if Path(device).exists() else "not there\n"), device


def test_each_host_has_an_engine_of_its_own(lab: LabAtHand) -> None:
    ids = {lab.inside(host, "docker", "info", "--format", "{{.ID}} {{.Driver}}") for host in lab.hosts}
    assert len(ids) == 2
    assert all("overlay2" in answer for answer in ids)


def test_up_again_does_nothing(lab: LabAtHand) -> None:
    before = _docker("ps", "--quiet", "--no-trunc", "--filter", "label=perfctl.lab=perfctl-test")
    said: list[object] = []
    up(lab.project_dir, LabRequest("perfctl-test"), listener=said.append)
    assert [note.text.split(":")[0] for note in said if isinstance(note, Note)] == ["already up"]
    assert len(said) == 1
    assert _docker("ps", "--quiet", "--no-trunc", "--filter", "label=perfctl.lab=perfctl-test") == before


def test_a_host_where_a_unit_has_failed_is_up_all_the_same(lab: LabAtHand) -> None:
    host = lab.hosts[0]
    lab.inside(host, "systemd-run", "--quiet", "--unit=broken", "false")
    try:
        wait_until(
            lambda: lab.inside(host, "systemctl", "list-units", "--failed", "--plain", "--no-legend"),
            "the unit to fail",
        )
        assert next(item.system for item in status(lab.project_dir, "perfctl-test")) == "degraded"
        test_up_again_does_nothing(lab)
    finally:
        lab.inside(host, "systemctl", "reset-failed", "broken.service")


# -- a lab to hurt ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def light_lab(lab: LabAtHand) -> Iterator[Path]:
    """Return the project folder of the light lab; the shared lab is asked for because it makes the image."""
    up(lab.project_dir, LIGHT)
    yield lab.project_dir
    down(lab.project_dir, LIGHT.name)


def _only(project_dir: Path) -> HostStatus:
    (host,) = status(project_dir, LIGHT.name)
    return host


def test_what_is_missing_comes_back_and_what_is_foreign_is_refused(light_lab: Path, tmp_path: Path) -> None:
    _docker("stop", "--time", "2", "perfctl-light-1")
    assert _only(light_lab).container == "exited"
    assert not _only(light_lab).is_ready

    up(light_lab, LabRequest(LIGHT.name, hosts=2))
    assert [host.is_ready for host in status(light_lab, LIGHT.name)] == [True, True]
    inventory = light_lab / "inventory" / "perfctl-light.yml"
    assert _ansible(inventory, "-m", "ansible.builtin.ping").count("SUCCESS") == 2
    # Hosts without systemd are no hosts for virtual machines.
    assert "perf_vm_host" not in inventory.read_text()

    with pytest.raises(Refused, match="another project has a lab of this name"):
        up(tmp_path, LIGHT)
    with pytest.raises(
        Refused, match=r"the link br-\S+, docker's network perfctl-light-test, has 10\.243\.0\.0/16"
    ):
        up(tmp_path, LabRequest("perfctl-other", 1, True, "172.31.243.0/24", "10.243.128.0/17"))
    assert not (tmp_path / "inventory").exists()

    known_hosts = light_lab / ".state" / "lab" / LIGHT.name / "known_hosts"
    right = known_hosts.read_text()
    _swap_keys(known_hosts)
    assert {host.ssh for host in status(light_lab, LIGHT.name)} == {"Host key verification failed."}
    known_hosts.write_text(right)


def _swap_keys(path: Path) -> None:
    """Give each host the other one's key."""
    first, second = (line.split(" ", 1) for line in path.read_text().splitlines())
    path.write_text(f"{first[0]} {second[1]}\n{second[0]} {first[1]}\n")


def test_an_engine_starts_and_stops_where_systemd_is_not_pid_1(light_lab: Path, tmp_path: Path) -> None:
    inventory = light_lab / "inventory" / "perfctl-light.yml"
    folder, host = "/var/lib/perfctl/engine", "perfctl-light-1"
    _docker("exec", host, "mkdir", "-p", folder)
    # The number of another process, as after a reboot.
    _docker("exec", host, "sh", "-c", f"echo 1 > {folder}/dockerd.pid")

    _apply(tmp_path, inventory, "main")
    first = _docker("exec", host, "cat", f"{folder}/dockerd.pid")
    _docker("exec", host, "docker", "info")
    _apply(tmp_path, inventory, "main")
    assert _docker("exec", host, "cat", f"{folder}/dockerd.pid") == first

    _apply(tmp_path, inventory, "absent")
    assert "dockerd" not in _docker("exec", host, "ps", "-eo", "comm")


def _apply(folder: Path, inventory: Path, entry: str) -> None:
    """Apply one entry point of the engine's role to the light host."""
    playbook = folder / "engine.yml"
    task = {"ansible.builtin.include_role": {"name": "perf_lab_engine", "tasks_from": entry}}
    playbook.write_text(json.dumps([{"hosts": "all", "tasks": [{"name": "The engine"} | task]}]))
    run_playbook(playbook, inventory=[str(inventory)], limit="*-1", timeout_s=300).raise_for_failures()


def test_an_engine_that_systemd_runs_is_found_and_left_alone(
    provisioned_lab: LabAtHand, tmp_path: Path
) -> None:
    lab, host = provisioned_lab, provisioned_lab.hosts[0]
    before = lab.inside(host, "systemctl", "show", "docker.service", "--property", "MainPID")
    _apply(tmp_path, lab.inventory, "main")
    _apply(tmp_path, lab.inventory, "absent")
    assert lab.inside(host, "systemctl", "show", "docker.service", "--property", "MainPID") == before


def test_down_leaves_nothing_and_touches_nothing_else(light_lab: Path, lab: LabAtHand) -> None:
    label = f"label=perfctl.lab={LIGHT.name}"
    containers = _docker("ps", "--quiet", "--filter", label).split()
    form = '{{range .Mounts}}{{if eq .Type "volume"}}{{.Name}} {{end}}{{end}}'
    volumes = set(_docker("inspect", "--format", form, *containers).split())
    assert volumes
    assert down(light_lab, LIGHT.name)
    assert not volumes & set(_docker("volume", "ls", "--quiet").split())
    assert _docker("ps", "--all", "--quiet", "--filter", label) == ""
    assert _docker("network", "ls", "--quiet", "--filter", label) == ""
    assert not (light_lab / ".state" / "lab" / LIGHT.name).exists()
    assert not (light_lab / "inventory" / "perfctl-light.yml").exists()
    assert all(host.is_ready for host in status(light_lab, "perfctl-test"))
    assert not down(light_lab, LIGHT.name)
