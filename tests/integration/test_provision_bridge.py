"""The bridge's script in a network of its own inside a lab host: NICs as they may be found."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.lab import LabAtHand

pytestmark = pytest.mark.lab("first", stage="up")

SCRIPT = Path(__file__).resolve().parents[2] / "roles" / "perf_bridge" / "files" / "bridge.sh"

# A new network and its /sys; eth1 is the test NIC and peer1 the far end of its cable. /run is the host's,
# because systemd runs there. What is written lies in memory and goes away with the mounts.
PROLOGUE = """
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /mnt
mkdir -p /etc/network
mount -t tmpfs tmpfs /etc/network
bridge() { STATE_DIR=/mnt/state sh -c "$SCRIPT" bridge.sh "$@"; }
network() { ls /sys/class/net; ip -o -4 addr; }
ip link add eth1 mtu 1500 type veth peer name peer1
ip link set lo up
ip link set peer1 up
ip addr add 10.77.0.9/16 dev eth1
ip link set eth1 up
"""


@dataclass
class Machine:
    """Runs a script in a fresh network inside a lab host."""

    host: str
    environ: dict[str, str] = field(
        default_factory=lambda: {
            "BRIDGE": "br1",
            "INTERFACE": "eth1",
            "ADDRESS": "10.77.0.9/16",
            "MTU": "9000",
            "ALLOW_MANAGEMENT": "no",
        }
    )

    def run(self, script: str, **environ: str) -> str:
        """Return what `script` prints, on both streams; `bridge MODE` calls the bridge's script."""
        given = {**self.environ, **environ, "SCRIPT": SCRIPT.read_text()}
        options = [item for name, value in given.items() for item in ("-e", f"{name}={value}")]
        argv = ["docker", "exec", "-i", *options, self.host, "unshare", "-n", "-m", "sh", "-eu"]
        done = subprocess.run(
            argv, input=f"{PROLOGUE}\n{script}\n", capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout + done.stderr


@pytest.fixture
def machine(lab: LabAtHand) -> Machine:
    """Return a machine in the lab's first host."""
    return Machine(lab.hosts[0])


def test_it_says_what_it_changes_and_nothing_the_second_time(machine: Machine) -> None:
    output = machine.run(
        "bridge up; echo --; bridge up; echo --; ip -br addr show br1; cat /sys/class/net/eth1/mtu"
    )
    first, second, state = output.split("--\n")
    assert first.splitlines() == [
        "create br1",
        "set the MTU of eth1 to 9000",
        "pin the MAC of br1 to that of eth1",
        "make eth1 a port of br1",
        "bring br1 up",
        "move 10.77.0.9/16 from eth1 to br1",
        "pin the MTU of br1 to 9000",
        "let frames pass that are forwarded within br1",
    ]
    assert second == ""
    assert "10.77.0.9/16" in state
    assert state.endswith("9000\n")


def test_a_plan_names_the_changes_and_makes_none(machine: Machine) -> None:
    output = machine.run("network > /mnt/a; bridge plan; network > /mnt/b; cmp /mnt/a /mnt/b && echo same")
    assert output.startswith("create br1\n")
    assert output.endswith("same\n")
    assert "move 10.77.0.9/16 from eth1 to br1" in output


def test_a_small_port_does_not_lower_the_mtu(machine: Machine) -> None:
    small = "ip link add small mtu 1500 type veth peer name far; ip link set small master br1"
    assert machine.run(f"bridge up > /dev/null; {small}; cat /sys/class/net/br1/mtu") == "9000\n"
    # The counterproof: that is what happens to a bridge that already had 9000 when 9000 was set.
    unpinned = "ip link add br2 type bridge; ip link set eth1 mtu 9000 master br2; ip link set br2 mtu 9000"
    joins = small.replace("br1", "br2")
    assert machine.run(f"{unpinned}; {joins}; cat /sys/class/net/br2/mtu") == "1500\n"


def test_a_port_with_a_lower_mac_does_not_change_the_bridges(machine: Machine) -> None:
    lower = "ip link add low address 00:00:00:00:00:01 type veth peer name far; ip link set low master br1"
    show = "cat /sys/class/net/eth1/address /sys/class/net/br1/address"
    own, bridge = machine.run(f"bridge up > /dev/null; {lower}; {show}").split()
    assert own == bridge


def test_what_was_changed_by_hand_is_drift_and_is_put_right(machine: Machine) -> None:
    output = machine.run(
        "bridge up > /dev/null; ip link set br1 mtu 1500; ip link set br1 address 02:00:00:00:00:01;"
        "ip link set eth1 nomaster; bridge verify; echo --; bridge up; echo --; bridge verify"
    )
    drift, repaired, rest = output.split("--\n")
    assert "drift: br1 has MTU 1500, not 9000" in drift
    assert "drift: eth1 is not a port of br1" in drift
    assert "drift: br1 has MAC 02:00:00:00:00:01" in drift
    assert repaired.splitlines() == [
        "pin the MAC of br1 to that of eth1",
        "make eth1 a port of br1",
        "pin the MTU of br1 to 9000",
    ]
    assert "MTU" not in rest
    assert "port" not in rest


def test_the_address_and_its_routes_move(machine: Machine) -> None:
    output = machine.run(
        "ip route add 10.99.0.0/16 via 10.77.0.1; bridge up > /dev/null; ip route; ip -o -4 addr show eth1",
        ALLOW_MANAGEMENT="yes",
    )
    assert "10.99.0.0/16 via 10.77.0.1 dev br1" in output
    assert "10.77.0.0/16 dev br1" in output
    assert "dev eth1" not in output


REFUSALS = {
    "foreign bridge": (
        "ip link add br1 type bridge",
        "there is a br1 on this host that perfctl did not make",
    ),
    "forged mark": (
        "ip link add br1 type bridge; ip link set br1 alias perfctl:",
        "there is a br1 on this host that perfctl did not make",
    ),
    "default route": ("ip route add default via 10.77.0.1", "the default route (ip -4) goes through eth1"),
    "ssh session": (
        "export SSH_CONNECTION='10.77.0.1 50000 10.77.0.9 22'",
        "the ssh session from 10.77.0.1 comes in through eth1; the ssh session reaches this host at",
    ),
    "another address": ("ip addr add 192.0.2.1/24 dev eth1", "eth1 also carries 192.0.2.1/24"),
    "a route": (
        "ip route add 10.99.0.0/16 via 10.77.0.1",
        "the route '10.99.0.0/16 via 10.77.0.1' goes through",
    ),
    "another master": (
        "ip link add bond0 type bridge; ip link set eth1 master bond0",
        "eth1 already belongs to bond0, not to br1",
    ),
    "DHCP": ("echo 'iface eth1 inet dhcp' > /etc/network/interfaces", "eth1 has its address by DHCP"),
}


@pytest.mark.parametrize(("prepare", "reason"), REFUSALS.values(), ids=REFUSALS.keys())
def test_it_refuses_and_changes_nothing(machine: Machine, prepare: str, reason: str) -> None:
    output = machine.run(
        f"{prepare}; network > /mnt/a; bridge inspect; echo --;"
        "bridge up && echo made || echo exit $?; network > /mnt/b; cmp /mnt/a /mnt/b && echo same"
    )
    inspected, outcome = output.split("--\n", 1)
    assert f"refused: {reason}" in inspected, shlex.quote(output)
    assert "exit 7" in outcome
    assert "made" not in outcome
    assert "same" in outcome


def test_sudo_does_not_hide_the_ssh_session(machine: Machine) -> None:
    hidden = (
        "export SSH_CONNECTION='10.77.0.1 50000 10.77.0.9 22';"
        "sh -c 'env -u SSH_CONNECTION STATE_DIR=/mnt/state sh -c \"$SCRIPT\" bridge.sh inspect; true'"
    )
    assert "refused: the ssh session from 10.77.0.1" in machine.run(hidden)


def test_a_static_nic_of_ifupdown_is_taken_and_its_file_left(machine: Machine) -> None:
    output = machine.run(
        "echo 'iface eth1 inet static' > /etc/network/interfaces; bridge inspect; bridge up > /dev/null;"
        "cat /etc/network/interfaces"
    )
    assert output == "owner: ifupdown\niface eth1 inet static\n"


def test_an_mtu_that_the_nic_cannot_do_is_refused(machine: Machine) -> None:
    output = machine.run("bridge inspect", MTU="70000")
    assert "refused: eth1 can do an MTU of 65535 at most, not 70000" in output


def test_a_nic_that_is_not_there_is_refused(machine: Machine) -> None:
    output = machine.run("bridge inspect", INTERFACE="eth9")
    assert output == "refused: there is no interface eth9 on this host (perf_test_interface)\n"
