"""Hosts for virtual machines: provisioned, read back, refused, and left as they were found."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from perfctl.lab import LabRequest, down, up
from tests.lab import LabAtHand

# -- a host without systemd ------------------------------------------------------------------------

PLAIN = LabRequest("perfctl-plain", 1, True, "172.31.244.0/24", "10.244.0.0/16")


@pytest.fixture
def plain(lab: LabAtHand) -> Iterator[LabAtHand]:
    """Return a lab of one host that does not run systemd, with a bridge that carries a mark like ours."""
    made = up(lab.project_dir, PLAIN)
    try:
        host = made.members[0].name
        commands = "ip link add br1 type bridge; ip link set br1 alias perfctl:of-this-test"
        plain = LabAtHand(lab.project_dir, made.inventory, (host,))
        plain.inside(host, "sh", "-c", commands)
        yield plain
    finally:
        down(lab.project_dir, PLAIN.name)


@pytest.mark.lab("first", stage="up")
def test_without_systemd_it_says_how_to_start_libvirt(plain: LabAtHand) -> None:
    variables = {
        "perf_vm_host": True,
        "perf_bridge_guest_range": "10.244.1.128/25",
        # Whether they can be installed there is not the question.
        "perf_vm_host_packages": [],
    }
    done = plain.perfctl("provision", "--tags", "vm", "-e", json.dumps(variables), timeout_s=120)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "libvirt does not answer at qemu:///system" in done.stderr
    assert "start libvirt yourself (virtlogd -d && libvirtd -d) and provision again" in done.stderr


# -- a host for real -------------------------------------------------------------------------------

FOLDER = "/var/lib/perfctl/vm"
URI = "qemu:///system"

# A guest without a disk that is never started: what has to be ended is there all the same.
GUEST = """\
<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory><vcpu>1</vcpu><os><type>hvm</type></os>
<devices><interface type='bridge'><source bridge='br1'/><target dev='{tap}'/><mtu size='9000'/></interface>
</devices></domain>
"""


def _rows(lab: LabAtHand, *arguments: str, exit_code: int = 0) -> list[dict[str, Any]]:
    done = lab.perfctl(*arguments, "--format", "json", timeout_s=1500)
    assert done.returncode == exit_code, done.stdout + done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)["rows"]
    return rows


def _start_guest(lab: LabAtHand, host: str, name: str, tap: str) -> str:
    """Start a guest of this name on a host, paused, and return its uuid."""
    path = f"/run/{name}.xml"
    subprocess.run(
        ["docker", "exec", "-i", host, "sh", "-c", f"cat > {path}"],
        input=GUEST.format(name=name, tap=tap),
        text=True,
        timeout=60,
        check=True,
    )
    lab.inside(host, "virsh", "-q", "-c", URI, "create", path, "--paused")
    return lab.inside(host, "virsh", "-q", "-c", URI, "domuuid", name).strip()


def _guests(lab: LabAtHand, host: str) -> list[str]:
    return lab.inside(host, "virsh", "-q", "-c", URI, "list", "--name").split()


def _as_found(lab: LabAtHand, host: str) -> dict[str, str]:
    """Return all of a host that virtual machines could leave traces in."""
    questions = {
        "files": "find /etc -type f -exec stat -c '%n %a %u %g' {} + -exec sha256sum {} + | sort",
        "ours": "cd /var/lib/perfctl; find . ! -path './spool*' ! -name '*.json' | sort; ls /srv",
        "packages": "dpkg-query -W -f '${db:Status-Status} ${Package} ${Version}\\n'",
        "services": "systemctl list-units --no-legend --plain --state=active '*virt*' '*machined*' '*qemu*'",
        "links": "ls /sys/class/net",
        "firewall": "iptables -S FORWARD",
    }
    return {name: lab.inside(host, "sh", "-c", command) for name, command in questions.items()}


@pytest.fixture
def last(provisioned_lab: LabAtHand) -> str:
    """Return the name of the lab's last host; only that one is touched."""
    return provisioned_lab.hosts[-1]


@pytest.fixture
def put_right(provisioned_lab: LabAtHand, last: str) -> Iterator[None]:
    """Provision the host again after a test that takes something away."""
    yield
    done = provisioned_lab.perfctl("provision", "--limit", last, timeout_s=1500)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.lab("second")
def test_qemu_comes_through_to_the_folder_but_not_to_the_keys(provisioned_lab: LabAtHand, last: str) -> None:
    as_qemu = ["setpriv", "--reuid", "libvirt-qemu", "--regid", "libvirt-qemu", "--clear-groups"]
    provisioned_lab.inside(last, *as_qemu, "test", "-x", f"{FOLDER}/guests/")
    provisioned_lab.inside(last, *as_qemu, "sh", "-c", f"! cat {FOLDER}/id_ed25519")


@pytest.mark.lab("second")
def test_drift_is_found_and_put_right(provisioned_lab: LabAtHand, last: str, put_right: None) -> None:
    only = ("--limit", last)
    provisioned_lab.inside(last, "sh", "-c", "echo '# mine' > /etc/qemu/bridge.conf")
    provisioned_lab.inside(last, "chmod", "0644", f"{FOLDER}/id_ed25519")
    sockets = ("libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket")
    provisioned_lab.inside(last, "systemctl", "stop", *sockets, "libvirtd.service")
    found = _rows(provisioned_lab, "verify", *only, exit_code=7)
    assert {row["state"] for row in found} == {
        f"libvirt does not answer at {URI}",
        f"{FOLDER}/id_ed25519 is not root's alone",
        "/etc/qemu/bridge.conf does not allow br1",
    }
    (repaired,) = _rows(provisioned_lab, "provision", "--tags", "vm", *only)
    assert repaired["changed"] == 2
    assert provisioned_lab.inside(last, "cat", "/etc/qemu/bridge.conf") == "# mine\nallow br1\n"
    assert [row["state"] for row in _rows(provisioned_lab, "verify", *only)] == ["as provisioned"]


@pytest.mark.lab("second")
@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"perf_bridge_name": "br9"}, "there is no bridge br9 on this host for virtual machines to sit on"),
        ({"perf_bridge_guest_range": ""}, "perf_bridge_guest_range must be this host's own part"),
        ({"perf_bridge_guest_range": "{containers}"}, "overlap"),
        ({"perf_bridge_guest_range": "{other_guests}"}, "overlap"),
    ],
    ids=["no bridge", "no range", "containers", "another host"],
)
def test_it_is_refused_before_anything_is_changed(
    provisioned_lab: LabAtHand, last: str, variables: dict[str, str], words: str
) -> None:
    inventory = yaml.safe_load(provisioned_lab.inventory.read_text())["all"]["hosts"]
    ranges = {
        "containers": inventory[last]["perf_bridge_fixed_cidr"],
        "other_guests": inventory[provisioned_lab.hosts[0]]["perf_bridge_guest_range"],
    }
    variables = {name: value.format(**ranges) for name, value in variables.items()}
    before = provisioned_lab.inside(last, "cat", "/var/lib/perfctl/stamp.json")
    done = provisioned_lab.perfctl(
        "provision", "--limit", last, "--tags", "vm", "-e", json.dumps(variables), timeout_s=120
    )
    assert done.returncode == 7, done.stdout + done.stderr
    assert words in done.stderr
    assert provisioned_lab.inside(last, "cat", "/var/lib/perfctl/stamp.json") == before


@pytest.mark.slow
@pytest.mark.lab("second", stage="end")
def test_undo_leaves_guests_of_others_and_then_the_host_as_it_was_found(
    provisioned_lab: LabAtHand, last: str
) -> None:
    lab, only = provisioned_lab, ("--limit", last)
    # One of them has a name like ours: without our uuid and mark that says nothing.
    others = {"perfctl-mine-1234-0a1b": "pfcmine", "database": "tap-database"}
    for name, tap in others.items():
        _start_guest(lab, last, name, tap)
    try:
        (undone,) = _rows(lab, "provision", "--undo", *only)
        assert "kept libvirt, because it runs other guests" in undone["message"]
        assert set(others) <= set(_guests(lab, last))
        assert set(others.values()) <= set(lab.inside(last, "ls", "/sys/class/net").split())
    finally:
        for name in others:
            lab.inside(last, "virsh", "-q", "-c", URI, "destroy", name)
    _rows(lab, "provision", "--undo", "--purge-packages", *only)
    found = _as_found(lab, last)
    assert "libvirt-daemon-system" not in found["packages"]
    assert "perfctl" not in found["firewall"]

    # What was undone is no longer what the stamp says. Guests without an engine are made in half the time.
    without_engine = {"perf_vm_image_engine": False, "perf_vm_image_guest_packages": ["kmod"]}
    (provisioned,) = _rows(lab, "provision", *only, "-e", json.dumps(without_engine))
    assert provisioned["state"] == "committed"
    made = _as_found(lab, last)
    assert "/etc/qemu/bridge.conf" in made["files"]
    name = "perfctl-undo-undo-0a1b"
    uuid = _start_guest(lab, last, name, "pfc0123456789")
    lab.inside(last, "sh", "-c", f"mkdir {FOLDER}/guests/{name}; echo {uuid} > {FOLDER}/guests/{name}/uuid")

    (checked,) = _rows(lab, "provision", "--undo", "--check", *only)
    assert checked["state"] == "checked"
    assert checked["changed"] > 0
    assert name in _guests(lab, last)

    (undone,) = _rows(lab, "provision", "--undo", *only)
    assert undone["state"] == "undone"
    assert "libvirt-daemon-system" in undone["message"]
    assert "--purge-packages removes them" in undone["message"]
    left = _as_found(lab, last)
    assert left["links"] == found["links"]
    assert left["firewall"] == found["firewall"]
    assert left["services"] == found["services"]
    assert "libvirt-daemon-system" in left["packages"]
    assert set(left["ours"].split()) - set(found["ours"].split()) == {"./vm-host", "./vm-host/packages"}
    (again,) = _rows(lab, "provision", "--undo", *only)
    assert again["changed"] == 0

    _rows(lab, "provision", "--undo", "--purge-packages", *only)
    assert _as_found(lab, last) == found
    (again,) = _rows(lab, "provision", "--undo", "--purge-packages", *only)
    assert (again["changed"], again["message"]) == (0, "")
