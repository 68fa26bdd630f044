"""Hosts for virtual machines: provisioned, read back, refused, and left as they were found.

The first half runs the role's scripts in a network and folders of their own inside a lab host; the second
provisions the lab's last host for real and undoes that.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from perfctl.lab import Wish, down, up
from tests.conftest import LabAtHand

pytestmark = pytest.mark.lab

FILES = Path(__file__).resolve().parents[2] / "roles" / "perf_vm_host" / "files"
BRIDGE_SCRIPT = FILES.parents[1] / "perf_bridge" / "files" / "bridge.sh"

# -- the scripts alone -----------------------------------------------------------------------------

# What is written lies in memory and goes away with the mounts. The bridge has a mark like ours, and libvirt
# knows no guest.
PROLOGUE = """
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /mnt
chmod 0755 /mnt
echo '<node/>' > /mnt/node.xml
vm_host() { sh -c "$SCRIPT" vm-host.sh "$1"; }
undo() { sh -c "$UNDO" undo.sh "${1:-undo}"; }
bridge() { sh -c "$BRIDGE_SCRIPT" bridge.sh "$1"; }
ip link add br1 type bridge
ip link set br1 alias perfctl:of-this-test
"""


@dataclass
class Machine:
    """Runs a script in a fresh network and empty folders inside a lab host, away from its libvirt."""

    host: str
    environ: dict[str, str] = field(
        default_factory=lambda: {
            "FOLDER": "/mnt/perfctl/vm",
            "STATE_DIR": "/mnt/perfctl/vm-host",
            "STORAGE": "/mnt/perfctl/vm",
            "BRIDGE": "br1",
            "BRIDGE_COMES": "no",
            "MTU": "9000",
            "ADDRESS": "10.77.0.9/16",
            "GUEST_RANGE": "10.77.109.128/25",
            "CONTAINER_RANGE": "10.77.109.0/25",
            "PACKAGES": "",
            "UNITS": "",
            "SERVICE": "no-such.service",
            "URI": "test:///mnt/node.xml",
            "BRIDGE_CONF": "/mnt/etc/qemu/bridge.conf",
            "PURGE": "no",
            "PACKAGES_LIST": "/mnt/perfctl/packages",
        }
    )

    def run(self, script: str, **environ: str) -> str:
        """Return what `script` prints, on both streams; `vm_host MODE` and `undo` call the role's scripts."""
        scripts = {
            "SCRIPT": (FILES / "vm-host.sh").read_text(),
            "UNDO": (FILES / "undo.sh").read_text(),
            "BRIDGE_SCRIPT": BRIDGE_SCRIPT.read_text(),
        }
        given = {**self.environ, **environ, **scripts}
        options = [item for name, value in given.items() for item in ("-e", f"{name}={value}")]
        argv = ["docker", "exec", "-i", *options, self.host, "unshare", "-n", "-m", "sh", "-eu"]
        done = subprocess.run(
            argv, input=f"{PROLOGUE}\n{script}\n", capture_output=True, text=True, timeout=120, check=False
        )
        return done.stdout + done.stderr


@pytest.fixture
def machine(lab: LabAtHand) -> Machine:
    """Return a machine in the lab's first host."""
    return Machine(lab.hosts[0])


MADE = "vm_host note > /dev/null; vm_host up > /dev/null"


def test_it_says_what_it_makes_and_nothing_the_second_time(machine: Machine) -> None:
    show = "stat -c '%a %n' /mnt/perfctl/vm /mnt/perfctl/vm/*; cat /mnt/perfctl/vm/host.json"
    output = machine.run(
        f"vm_host note; vm_host plan > /mnt/plan; [ ! -e /mnt/perfctl/vm ]; vm_host up > /mnt/up; echo --;"
        "grep -vxF -f /mnt/up /mnt/plan; cat /mnt/up; echo --;"
        f"vm_host note; vm_host up; echo --; {show}"
    )
    noted, made, second, state = output.split("--\n")
    assert noted == "noted which services of libvirt run and start at boot\n"
    assert made.splitlines() == [
        # Only the plan names it: the folder is made with its mode.
        "let qemu pass through /mnt/perfctl/vm",
        "make /mnt/perfctl/vm for guests",
        "make /mnt/perfctl/vm/images",
        "make /mnt/perfctl/vm/guests",
        "make /mnt/perfctl/vm/addresses",
        "make a key for logging in to guests",
        "make the key that guests show",
        "write /mnt/perfctl/vm/known_hosts",
        "write /mnt/perfctl/vm/host.json",
        "allow br1 in /mnt/etc/qemu/bridge.conf",
    ]
    assert second == ""
    modes, _, config = state.partition("{")
    assert "711 /mnt/perfctl/vm\n" in modes
    assert "600 /mnt/perfctl/vm/id_ed25519\n" in modes
    assert "600 /mnt/perfctl/vm/guest_host_key\n" in modes
    assert json.loads("{" + config) == {
        "bridge": "br1",
        "mtu_bytes": 9000,
        "prefix_length": 16,
        "guest_range": "10.77.109.128/25",
        "uri": "test:///mnt/node.xml",
    }


def test_guests_are_known_by_one_name_with_the_key_they_will_show(machine: Machine) -> None:
    output = machine.run(f"{MADE}; cat /mnt/perfctl/vm/known_hosts /mnt/perfctl/vm/guest_host_key.pub")
    known, key = output.splitlines()
    assert known.split() == ["perfctl-guest", *key.split()[:2]]


REFUSALS = {
    "no bridge": (
        "ip link del br1",
        {},
        "there is no bridge br1 on this host for virtual machines to sit on",
    ),
    "foreign bridge": (
        "ip link set br1 alias mine",
        {},
        "there is a br1 on this host that perfctl did not make",
    ),
    "denied": (
        "mkdir -p /mnt/etc/qemu; echo 'deny br1' > $BRIDGE_CONF",
        {},
        "/mnt/etc/qemu/bridge.conf denies virtual machines the use of br1",
    ),
    "no range": ("", {"GUEST_RANGE": ""}, "perf_bridge_guest_range must be this host's own part"),
    "half a range": (
        "",
        {"GUEST_RANGE": "10.77.109.0"},
        "perf_bridge_guest_range must be this host's own part",
    ),
    "small range": ("", {"GUEST_RANGE": "10.77.109.128/29"}, "10.77.109.128/29 is too small"),
    "outside": ("", {"GUEST_RANGE": "10.78.0.0/24"}, "10.78.0.0/24 lies outside the test network"),
    "containers": ("", {"GUEST_RANGE": "10.77.109.0/24"}, "10.77.109.0/24 and perf_bridge_fixed_cidr"),
    "own address": ("", {"GUEST_RANGE": "10.77.0.0/24"}, "holds this host's own address 10.77.0.9"),
    "foreign files": (
        "mkdir /mnt/images; touch /mnt/images/mine",
        {"STORAGE": "/mnt/images"},
        "/mnt/images holds what perfctl has not put there",
    ),
    "closed folder": (
        "mkdir -m 0700 /mnt/closed",
        {"STORAGE": "/mnt/closed/vm"},
        "only its owner comes into /mnt/closed, qemu does not",
    ),
    "no path": ("", {"STORAGE": "images"}, "perf_vm_host_storage must be an absolute path"),
    "moved": (
        f"{MADE}; STORAGE=/mnt/elsewhere",
        {},
        "the disks of virtual machines lie in /mnt/perfctl/vm, not in /mnt/elsewhere",
    ),
}


@pytest.mark.parametrize(("prepare", "environ", "reason"), REFUSALS.values(), ids=REFUSALS.keys())
def test_it_refuses_what_would_hurt(
    machine: Machine, prepare: str, environ: dict[str, str], reason: str
) -> None:
    output = machine.run(f"{prepare or ':'}\nvm_host inspect", **environ)
    refused = [line for line in output.splitlines() if line.startswith("refused: ")]
    assert len(refused) == 1, output
    assert reason in refused[0]


def test_a_bridge_that_comes_in_the_same_run_is_waited_for(machine: Machine) -> None:
    assert "refused" not in machine.run("ip link del br1; vm_host inspect", BRIDGE_COMES="yes")


BRIDGE_CONFS = {
    "another bridge": "allow virbr0\n",
    "no end of line": "allow virbr0",
    "comments": "# mine\n\nallow virbr0\n# allow br1\n",
    "empty": "",
}


@pytest.mark.parametrize("text", BRIDGE_CONFS.values(), ids=BRIDGE_CONFS.keys())
def test_undo_leaves_the_permissions_of_bridges_as_they_were(machine: Machine, text: str) -> None:
    output = machine.run(
        f"mkdir -p -m 0750 /mnt/etc/qemu; printf %s '{text}' > $BRIDGE_CONF; chmod 0640 $BRIDGE_CONF;"
        "touch -d 2020-01-01 $BRIDGE_CONF; cp -p $BRIDGE_CONF /mnt/before;"
        "show() { stat -c '%a %u %g %s %y' $1; };"
        f"show $BRIDGE_CONF; {MADE}; grep -cx 'allow br1' $BRIDGE_CONF; undo > /dev/null;"
        "cmp /mnt/before $BRIDGE_CONF; show $BRIDGE_CONF; find /mnt/perfctl"
    )
    before, allowed, after, *left = output.splitlines()
    assert allowed == "1"
    assert before == after
    assert left == ["/mnt/perfctl"]


def test_lines_that_others_have_added_since_stay(machine: Machine) -> None:
    output = machine.run(f"{MADE}; echo 'allow br7' >> $BRIDGE_CONF; undo; echo --; cat $BRIDGE_CONF")
    said, rest = output.split("--\n")
    assert "take 'allow br1' out of /mnt/etc/qemu/bridge.conf" in said
    assert "kept: /mnt/etc/qemu, because there is something else in it" in said
    assert rest == "allow br7\n"


def test_a_permission_that_was_there_is_not_ours_to_take(machine: Machine) -> None:
    output = machine.run(
        f"mkdir -p /mnt/etc/qemu; echo 'allow all' > $BRIDGE_CONF; {MADE}; undo; cat $BRIDGE_CONF"
    )
    assert "bridge.conf" not in output
    assert output.endswith("allow all\n")


def test_storage_elsewhere_is_linked_and_what_is_foreign_in_it_stays(machine: Machine) -> None:
    output = machine.run(
        f"{MADE}; readlink $FOLDER; touch $FOLDER/notes $FOLDER/guests/disk; undo;"
        "ls /mnt/perfctl; find /mnt/big",
        STORAGE="/mnt/big/vm",
    )
    target, *said = output.splitlines()
    assert target == "/mnt/big/vm"
    assert "kept: /mnt/big/vm, because there is something else in it" in said
    assert said[-3:] == ["/mnt/big", "/mnt/big/vm", "/mnt/big/vm/notes"]


def test_taps_are_removed_by_our_names_alone(machine: Machine) -> None:
    output = machine.run(
        f"{MADE}; for name in pfc0123456789 pfcmine tap0; do ip tuntap add $name mode tap; done;"
        "ip link add pfc9876543210 type veth peer name far; undo > /dev/null; ls /sys/class/net"
    )
    assert output.split() == ["br1", "far", "lo", "pfc9876543210", "pfcmine", "tap0"]


def test_the_plan_of_an_undo_changes_nothing_and_the_second_undo_finds_nothing(machine: Machine) -> None:
    output = machine.run(f"{MADE}; undo plan; [ -e $FOLDER/host.json ]; echo --; undo; echo --; undo")
    plan, done, again = output.split("--\n")
    assert set(done.splitlines()) <= {line.removesuffix(" when it is empty") for line in plan.splitlines()}
    assert "remove keys, images and disks of guests from /mnt/perfctl/vm" in done
    assert again == ""


def test_the_rule_that_lets_frames_pass_is_ours_to_take_and_stays_undone_at_boot(machine: Machine) -> None:
    output = machine.run(
        "export STATE_DIR=/mnt/state INTERFACE=eth1 ALLOW_MANAGEMENT=no\n"
        "ip link del br1; ip link add eth1 type veth peer name peer1; ip addr add $ADDRESS dev eth1\n"
        "show() { iptables -S FORWARD | tail -n +2; echo --; }\n"
        "iptables -A FORWARD -i br1 -o br1 -j ACCEPT; bridge up > /dev/null; show\n"
        "bridge plan-undo-forwarding; bridge undo-forwarding; bridge undo-forwarding; show\n"
        "bridge boot; show\nbridge up"
    )
    made, undone, booted, again = output.split("--\n")
    foreign, ours = (
        "-A FORWARD -i br1 -o br1 -j ACCEPT\n",
        "-i br1 -o br1 -m comment --comment perfctl -j ACCEPT",
    )
    assert ours in made
    told = "no longer let frames pass that are forwarded within br1\n"
    assert undone == told + told + foreign
    assert booted == foreign
    assert again == "let frames pass that are forwarded within br1\n"


# -- a host without systemd ------------------------------------------------------------------------

PLAIN = Wish("perfctl-plain", 1, True, "172.31.244.0/24", "10.244.0.0/16")


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
    """Return the name of the lab's last host."""
    return provisioned_lab.hosts[-1]


@pytest.fixture
def put_right(provisioned_lab: LabAtHand) -> Iterator[None]:
    """Provision the lab again after a test that takes something away."""
    yield
    done = provisioned_lab.perfctl("provision", timeout_s=1500)
    assert done.returncode == 0, done.stdout + done.stderr


def test_qemu_comes_through_to_the_folder_but_not_to_the_keys(provisioned_lab: LabAtHand, last: str) -> None:
    as_qemu = ["setpriv", "--reuid", "libvirt-qemu", "--regid", "libvirt-qemu", "--clear-groups"]
    provisioned_lab.inside(last, *as_qemu, "test", "-x", f"{FOLDER}/guests/")
    provisioned_lab.inside(last, *as_qemu, "sh", "-c", f"! cat {FOLDER}/id_ed25519")


def test_drift_is_found_and_put_right(provisioned_lab: LabAtHand, last: str, put_right: None) -> None:
    provisioned_lab.inside(last, "sh", "-c", "echo '# mine' > /etc/qemu/bridge.conf")
    provisioned_lab.inside(last, "chmod", "0644", f"{FOLDER}/id_ed25519")
    sockets = ("libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket")
    provisioned_lab.inside(last, "systemctl", "stop", *sockets, "libvirtd.service")
    found = _rows(provisioned_lab, "verify", exit_code=7)
    assert {row["state"] for row in found if row["host"] == last} == {
        f"libvirt does not answer at {URI}",
        f"{FOLDER}/id_ed25519 is not root's alone",
        "/etc/qemu/bridge.conf does not allow br1",
    }
    repaired = _rows(provisioned_lab, "provision", "--tags", "vm")
    assert {row["host"]: row["changed"] for row in repaired} == {provisioned_lab.hosts[0]: 0, last: 2}
    assert provisioned_lab.inside(last, "cat", "/etc/qemu/bridge.conf") == "# mine\nallow br1\n"
    states = [(row["host"], row["state"]) for row in _rows(provisioned_lab, "verify")]
    assert states == [(host, "as provisioned") for host in provisioned_lab.hosts]


def test_undo_leaves_the_host_as_it_was_found(provisioned_lab: LabAtHand, last: str, put_right: None) -> None:
    lab, only = provisioned_lab, ("--limit", last)
    _rows(lab, "provision", "--undo", "--purge-packages", *only)
    found = _as_found(lab, last)
    assert "libvirt-daemon-system" not in found["packages"]
    assert "perfctl" not in found["firewall"]

    _rows(lab, "provision", *only)
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


def test_guests_of_others_stay_and_the_next_provision_does_not_trust_the_stamp(
    provisioned_lab: LabAtHand, last: str, put_right: None
) -> None:
    # One of them has a name like ours: without our uuid and mark that says nothing.
    others = {"perfctl-mine-1234-0a1b": "pfcmine", "database": "tap-database"}
    for name, tap in others.items():
        _start_guest(provisioned_lab, last, name, tap)
    try:
        (undone,) = _rows(provisioned_lab, "provision", "--undo", "--limit", last)
        assert "kept libvirt, because it runs other guests" in undone["message"]
        assert set(others) <= set(_guests(provisioned_lab, last))
        taps = provisioned_lab.inside(last, "ls", "/sys/class/net").split()
        assert set(others.values()) <= set(taps)
    finally:
        for name in others:
            provisioned_lab.inside(last, "virsh", "-q", "-c", URI, "destroy", name)
    states = {row["host"]: row["state"] for row in _rows(provisioned_lab, "provision")}
    assert states == {provisioned_lab.hosts[0]: "current", last: "committed"}


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
