"""The scripts that make a host one for virtual machines, and undo it, in a network of their own."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.lab import LabAtHand

pytestmark = pytest.mark.lab("first", stage="up")

FILES = Path(__file__).resolve().parents[2] / "roles" / "perf_vm_host" / "files"
BRIDGE_SCRIPT = FILES.parents[1] / "perf_bridge" / "files" / "bridge.sh"

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
