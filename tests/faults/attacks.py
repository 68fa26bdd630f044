"""The kinds of attack: each begins a fault on a run that is going on, and undoes its cause."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.faults.leftovers import has_process, output_of
from tests.faults.scene import WAIT_S, Command, Scene

_TIMEOUT_S = 60
_LOOK_EVERY_S = 0.3
_SPOOL = "/var/lib/perfctl/spool"
_SPOOL_BYTES = "8m"
_DATABASE_BYTES = "24m"
_FILLER = "filler"
_ANY = frozenset({0, 3})

Harm = Callable[[Scene, Command, random.Random], AbstractContextManager[None]]
"""Attacks; the cause is gone when the block is left. Inside it the case waits for the command's end."""


@dataclass(frozen=True)
class Attack:
    """One kind of attack.

    `exit_codes` are those that the attacked command may have, `cures` the commands before resume. The moment
    is drawn between `earliest_s` and `latest_s` after the command was started.
    """

    name: str
    what: str
    harm: Harm
    exit_codes: frozenset[int] = _ANY
    prepare: Callable[[Scene], AbstractContextManager[object]] = nullcontext
    cures: tuple[tuple[str, ...], ...] = ()
    kills_resume: bool = False
    earliest_s: float = 0.3
    latest_s: float = 15.0
    command: tuple[str, ...] | None = None
    """What is attacked; None: the run."""


@contextmanager
def _nothing(scene: Scene, command: Command, chance: random.Random) -> Iterator[None]:
    yield


@contextmanager
def _kill(scene: Scene, command: Command, chance: random.Random) -> Iterator[None]:
    command.process.kill()
    yield


@contextmanager
def _stop(scene: Scene, command: Command, chance: random.Random) -> Iterator[None]:
    command.process.send_signal(chance.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP]))
    yield


@contextmanager
def _steal(scene: Scene, command: Command, chance: random.Random) -> Iterator[None]:
    scene.run("hosts", "--steal", "--yes")
    yield


# ---- the network -------------------------------------------------------------------------------------------


def _ports(scene: Scene, chance: random.Random) -> list[str]:
    """Return the bridge's ports of one host: of its management network, or of both networks."""
    host = chance.choice(sorted(scene.lab.hosts))
    interfaces = chance.choice([["eth0"], ["eth0", "eth1"]])
    return [port_of(host, interface) for interface in interfaces]


def port_of(host: str, interface: str) -> str:
    """Return the interface of this machine that a host's interface is connected to."""
    index = output_of(host, ["cat", f"/sys/class/net/{interface}/iflink"]).strip()
    for path in Path("/sys/class/net").iterdir():
        if (path / "ifindex").read_text().strip() == index:
            return path.name
    raise RuntimeError(f"{host}: {interface} has no port on this machine")


@contextmanager
def cut(ports: list[str]) -> Iterator[None]:
    """Have nothing pass through these ports: as if a cable was pulled, nobody is told."""
    try:
        for port in ports:
            _as_root("ip", "link", "set", port, "down")
        yield
    finally:
        for port in ports:
            _as_root("ip", "link", "set", port, "up")


def _cut_for(seconds: float) -> Harm:
    @contextmanager
    def harm(scene: Scene, command: Command, chance: random.Random) -> Iterator[None]:
        with cut(_ports(scene, chance)):
            time.sleep(seconds)
        yield

    return harm


@contextmanager
def _cut_for_good(scene: Scene, command: Command, chance: random.Random) -> Iterator[None]:
    with cut(_ports(scene, chance)):
        yield


# ---- engine and disks --------------------------------------------------------------------------------------


@contextmanager
def _stopped_engine(scene: Scene, command: Command, chance: random.Random) -> Iterator[None]:
    host = chance.choice(sorted(scene.lab.hosts))
    output_of(host, ["systemctl", "stop", "docker.socket", "docker.service"])
    try:
        yield
    finally:
        output_of(host, ["systemctl", "start", "docker.socket", "docker.service"])


@contextmanager
def _small_spools(scene: Scene) -> Iterator[None]:
    """Give the spools of all hosts a small file system of their own."""
    for host in scene.lab.hosts:
        output_of(host, ["mkdir", "-p", _SPOOL])
        output_of(host, ["mount", "-t", "tmpfs", "-o", f"size={_SPOOL_BYTES},mode=0700", "tmpfs", _SPOOL])
    try:
        yield
    finally:
        for host in scene.lab.hosts:
            # Lazily: an agent that still ends makes it busy.
            output_of(host, ["umount", "--lazy", _SPOOL])


@contextmanager
def _full_spool(scene: Scene, command: Command, chance: random.Random) -> Iterator[None]:
    host, filler = chance.choice(sorted(scene.lab.hosts)), f"{_SPOOL}/{_FILLER}"
    output_of(host, ["dd", "if=/dev/zero", f"of={filler}", "bs=4k"], may_fail=True)
    try:
        yield
    finally:
        output_of(host, ["rm", "-f", filler])


@contextmanager
def _small_disk(scene: Scene) -> Iterator[None]:
    """Give the database a small file system of its own, for as long as the case counts."""
    folder = scene.database.parent
    _as_root("mount", "-t", "tmpfs", "-o", f"size={_DATABASE_BYTES}", "tmpfs", str(folder))
    try:
        yield
    finally:
        _as_root("umount", str(folder))


@contextmanager
def _full_disk(scene: Scene, command: Command, chance: random.Random) -> Iterator[None]:
    filler = scene.database.parent / _FILLER
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def _moved_database(scene: Scene, command: Command, chance: random.Random) -> Iterator[None]:
    elsewhere = scene.database.with_name("moved.db")
    while not scene.database.exists() and not command.ends_within(0.02):
        pass
    if not scene.database.exists():
        yield
        return
    scene.database.rename(elsewhere)
    try:
        yield
    finally:
        scene.database.unlink(missing_ok=True)
        elsewhere.rename(scene.database)


# ---- two at one host ---------------------------------------------------------------------------------------


@contextmanager
def _second_run(scene: Scene, command: Command, chance: random.Random) -> Iterator[None]:
    scene.other_database.parent.mkdir(exist_ok=True)
    scene.start_run(database=scene.other_database).wait()
    yield


@contextmanager
def _provision(scene: Scene, command: Command, chance: random.Random) -> Iterator[None]:
    second = scene.start("provision", "--force", "--tags", "bridge")
    deadline = time.monotonic() + 2 * WAIT_S
    while not second.ends_within(_LOOK_EVERY_S) and time.monotonic() < deadline:
        # In this order: what is seen first was there while the run still measured.
        if has_process(scene.marker, "ansible-playbook") and command.exit_code is None:
            scene.let_in.append(f"{second} changes hosts beside {command}")
            break
    second.wait()
    yield


ATTACKS = (
    Attack("none", "nothing is done: the count itself is tried", _nothing, frozenset({0})),
    Attack("kill", "kill -9 of the controller, then resume", _kill, frozenset({-9, 0})),
    Attack("kill-twice", "the resume is killed, too", _kill, frozenset({-9, 0}), kills_resume=True),
    Attack(
        "kill-reap",
        "kill -9, then reap, then resume",
        _kill,
        frozenset({-9, 0}),
        cures=(("reap", "latest"),),
    ),
    Attack(
        "kill-steal",
        "kill -9, then hosts --steal, then resume",
        _kill,
        frozenset({-9, 0}),
        cures=(("hosts", "--steal", "--yes"),),
    ),
    Attack("stop", "Ctrl-C, SIGTERM or SIGHUP", _stop, frozenset({0, 129, 130, 143})),
    Attack("steal", "hosts --steal while it measures", _steal, earliest_s=4.0),
    Attack("network-5", "a host's network is cut for 5 s", _cut_for(5), frozenset({0, 3})),
    Attack("network-60", "a host's network is cut for 60 s", _cut_for(60), frozenset({0, 3, 4})),
    Attack(
        "network-gone", "a host's network is cut until the run has ended", _cut_for_good, frozenset({0, 3, 4})
    ),
    Attack("engine", "a host's Docker engine is stopped until the run has ended", _stopped_engine),
    Attack(
        "spool-full",
        "the disk of a host's spool is full until the run has ended",
        _full_spool,
        prepare=_small_spools,
    ),
    Attack(
        "database-full",
        "the database's disk is full until the run has ended",
        _full_disk,
        frozenset({0, 8}),
        prepare=_small_disk,
    ),
    Attack(
        "database-moved",
        "the database is renamed until the run has ended",
        _moved_database,
        frozenset({0, 8}),
    ),
    # Later the first one would have ended before the second one asks for its hosts.
    Attack(
        "two-controllers",
        "a second run from another database",
        _second_run,
        frozenset({0, 6}),
        latest_s=8.0,
    ),
    Attack("provision", "provision --force while it measures", _provision, frozenset({0, 6}), latest_s=8.0),
    Attack(
        "kill-provision",
        "kill -9 of provision, then provision again",
        _kill,
        frozenset({-9, 0}),
        latest_s=12.0,
        command=("provision", "--force", "--tags", "bridge"),
    ),
)


def attack_named(name: str) -> Attack:
    """Return the attack of this name. Raises KeyError."""
    return {attack.name: attack for attack in ATTACKS}[name]


def _as_root(*argv: str) -> None:
    subprocess.run(argv, timeout=_TIMEOUT_S, check=True, capture_output=True)
