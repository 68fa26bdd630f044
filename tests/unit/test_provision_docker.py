"""docker.service's drop-in: what stands against it, wherever that is set, and how it is taken back."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.role_modules import load

docker = load("perf_docker/library/perf_docker_plan.py")
drop_in = load("perf_docker/library/perf_docker_drop_in.py")

FLAGS = ["--bridge=br1", "--mtu=9000", "--fixed-cidr=10.77.101.0/24", "--debug"]
NETWORK_FLAGS = FLAGS[:3]
OWN = "etc/systemd/system/docker.service.d/50-perfctl.conf"
VENDOR = """[Unit]
Description=Docker
[Service]
# as Debian has it
EnvironmentFile=-/etc/default/docker
ExecStart=/usr/sbin/dockerd -H fd:// \\
    --containerd=/run/containerd/containerd.sock $DOCKER_OPTS
ExecReload=/bin/kill -s HUP $MAINPID
"""


class Machine:
    """A folder with the files of a host, and what is planned for it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("lib/systemd/system/docker.service", VENDOR)

    def write(self, path: str, text: str) -> str:
        """Write a file, and return its path as messages name it."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return str(file)

    def plan(self, *flags: str, address: str = "10.77.0.1/16") -> dict[str, Any]:
        """Return what the module makes of it."""
        result: dict[str, Any] = docker.plan(flags or NETWORK_FLAGS, self.root / OWN, address, self.root)
        return result

    def refusals(self, *flags: str) -> list[str]:
        """Return why the module refuses."""
        refusals: list[str] = self.plan(*flags)["refusals"]
        return refusals


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a host with Debian's docker.service and nothing else."""
    return Machine(tmp_path)


# -- one option in two places ----------------------------------------------------------------------


def test_without_a_daemon_json_every_flag_is_needed(machine: Machine) -> None:
    planned = machine.plan(*FLAGS)
    assert planned["refusals"] == []
    assert planned["missing"] == FLAGS
    assert planned["exec_start"] == (
        "/usr/sbin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock $DOCKER_OPTS "
        "--bridge=br1 --mtu=9000 --fixed-cidr=10.77.101.0/24 --debug"
    )


def test_what_daemon_json_says_too_is_left_to_it(machine: Machine) -> None:
    machine.write("etc/docker/daemon.json", '{"mtu": 9000, "debug": true, "log-driver": "journald"}')
    planned = machine.plan(*FLAGS)
    assert planned["refusals"] == []
    assert planned["missing"] == ["--bridge=br1", "--fixed-cidr=10.77.101.0/24"]


def test_a_drop_in_of_before_does_not_repeat_what_daemon_json_says_by_now(machine: Machine) -> None:
    machine.write(OWN, "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd --debug\n")
    machine.write("etc/docker/daemon.json", '{"debug": true}')
    planned = machine.plan("--debug")
    assert planned["exec_start"].endswith(" $DOCKER_OPTS")


@pytest.mark.parametrize("config", [{"mtu": 1500}, {"debug": False}, {"bridge": "none"}])
def test_what_daemon_json_says_otherwise_is_refused(machine: Machine, config: dict[str, object]) -> None:
    path = machine.write("etc/docker/daemon.json", json.dumps(config))
    (refusal,) = machine.refusals(*FLAGS)
    assert refusal.startswith(f"{path} says {json.dumps(config)}, perfctl needs --")


def test_repeated_options_are_found_under_their_plural(machine: Machine) -> None:
    machine.write("etc/docker/daemon.json", '{"insecure-registries": ["b"], "dns": ["192.0.2.2"]}')
    assert len(machine.refusals("--insecure-registry=a", "--dns=192.0.2.1")) == 2


def test_a_flag_that_may_be_repeated_is_added_to_those_of_the_unit(machine: Machine) -> None:
    machine.write("etc/default/docker", 'DOCKER_OPTS="--insecure-registry=a --label x=y"\n')
    assert machine.refusals("--insecure-registry=b", "--label=z=1") == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("etc/default/docker", 'DOCKER_OPTS="--debug -b br0"\n'),
        ("etc/default/docker", "DOCKER_OPTS=-Dbbr0\n"),
        ("etc/systemd/system/docker.service.d/a.conf", '[Service]\nEnvironment="DOCKER_OPTS=-b br0"\n'),
        ("usr/lib/systemd/system/docker.service.d/opts.conf", "[Service]\nEnvironment=DOCKER_OPTS=-b=br0\n"),
        ("etc/systemd/system/docker.service", VENDOR.replace("$DOCKER_OPTS", "-b br0")),
    ],
)
def test_a_flag_is_found_wherever_the_unit_takes_it_from(machine: Machine, path: str, text: str) -> None:
    place = machine.write(path, text)
    (refusal,) = machine.refusals()
    assert refusal.startswith(f"{place} says ")
    assert "br0, perfctl needs --bridge=br1" in refusal


def test_the_variables_of_an_environment_file_of_ones_own_are_read(machine: Machine) -> None:
    machine.write(
        "etc/systemd/system/docker.service.d/env.conf", "[Service]\nEnvironmentFile=/etc/sysconfig/docker*\n"
    )
    place = machine.write("etc/sysconfig/docker-network", "DOCKER_OPTS='--mtu 1400'\n")
    assert machine.refusals() == [
        f"{place} says --mtu 1400, perfctl needs --mtu=9000; dockerd takes an option from one place only"
    ]


def test_a_file_that_the_unit_does_not_read_does_not_matter(machine: Machine) -> None:
    machine.write("etc/default/docker", "DOCKER_OPTS=--mtu=1400\n")
    machine.write("etc/systemd/system/docker.service", "[Service]\nExecStart=/usr/bin/dockerd -H fd://\n")
    assert machine.refusals() == []


def test_a_drop_in_takes_back_what_the_unit_sets(machine: Machine) -> None:
    machine.write("etc/default/docker", "DOCKER_OPTS=--mtu=1400\n")
    machine.write("etc/systemd/system/docker.service.d/a.conf", "[Service]\nEnvironmentFile=\n")
    assert machine.refusals() == []


def test_another_file_of_settings_is_read_in_place_of_daemon_json(machine: Machine) -> None:
    machine.write("etc/docker/daemon.json", '{"mtu": 1400}')
    machine.write("etc/default/docker", "DOCKER_OPTS=--config-file=/etc/mine.json\n")
    place = machine.write("etc/mine.json", '{"bip": "192.0.2.1/24"}')
    (refusal,) = machine.refusals()
    assert refusal.startswith(f"{place} says")


# -- options that stop dockerd though none of them is ours alone -----------------------------------


def test_hosts_in_daemon_json_and_in_the_unit_would_stop_the_next_start(machine: Machine) -> None:
    place = machine.write("etc/docker/daemon.json", '{"hosts": ["tcp://127.0.0.1:2375"]}')
    (refusal,) = machine.refusals()
    assert refusal.startswith(f'{place} says {{"hosts": ["tcp://127.0.0.1:2375"]}}, but ')
    assert "gives dockerd -H fd://" in refusal


def test_options_in_both_places_are_found_before_the_engine_is_installed(machine: Machine) -> None:
    (machine.root / "lib/systemd/system/docker.service").unlink()
    machine.write("etc/docker/daemon.json", '{"hosts": ["unix:///run/docker.sock"]}')
    machine.write("etc/default/docker", "DOCKER_OPTS='--bip=192.0.2.1/24'\n")
    refusals = machine.refusals()
    assert len(refusals) == 2
    assert "Debian's docker.service gives dockerd -H fd://" in refusals[0]
    assert "etc/default/docker says --bip=192.0.2.1/24, which excludes --bridge=br1" in refusals[1]


@pytest.mark.parametrize(
    ("path", "text", "written"),
    [
        ("etc/docker/daemon.json", '{"bip": "192.0.2.1/24"}', '{"bip": "192.0.2.1/24"}'),
        ("etc/docker/daemon.json", '\ufeff{"bip6": "fd00::1/64"}', '{"bip6": "fd00::1/64"}'),
        ("etc/default/docker", "DOCKER_OPTS='--bip 192.0.2.1/24'\n", "--bip 192.0.2.1/24"),
        (
            "etc/systemd/system/docker.service",
            "[Service]\nExecStart=/usr/bin/dockerd --bip=192.0.2.1/24\n",
            "--bip=192.0.2.1/24",
        ),
        (
            "etc/systemd/system/docker.service.d/10-mine.conf",
            "[Service]\nEnvironment='DOCKER_OPTS=--bip=192.0.2.1/24'\n",
            "--bip=192.0.2.1/24",
        ),
    ],
)
def test_what_excludes_the_bridge_is_named_with_its_file(
    machine: Machine, path: str, text: str, written: str
) -> None:
    place = machine.write(path, text)
    assert machine.refusals() == [
        f"{place} says {written}, which excludes --bridge=br1 of perfctl: dockerd would not start"
    ]


@pytest.mark.parametrize(
    ("config", "flags"),
    [
        ({"iptables": False}, ["--icc=false"]),
        ({"exec-opts": ["native.cgroupdriver=systemd"]}, ["--cgroup-parent=/perf"]),
        ({"log-opts": {"max-size": "10m"}}, ["--log-driver=journald"]),
        ({"log-driver": "journald"}, ["--log-opt=max-file=3"]),
    ],
)
def test_other_pairs_that_exclude_each_other(
    machine: Machine, config: dict[str, object], flags: list[str]
) -> None:
    place = machine.write("etc/docker/daemon.json", json.dumps(config))
    assert machine.refusals(*flags) == [
        f"{place} says {json.dumps(config)}, which excludes {flags[0]} of perfctl: dockerd would not start"
    ]


@pytest.mark.parametrize(
    ("config", "flags"),
    [
        ({"bip": ""}, NETWORK_FLAGS),
        ({"iptables": True}, ["--icc=false"]),
        ({"bip": "192.0.2.1/24"}, ["--debug"]),
        ({"exec-opts": ["native.cgroupdriver=systemd"]}, ["--cgroup-parent=perf.slice"]),
        ({"log-opts": {"max-size": "10m"}, "log-driver": "local"}, ["--debug"]),
        ({"runtimes": {"runsc": {"path": "/usr/bin/runsc"}}}, ["--add-runtime=kata=/usr/bin/kata"]),
        ({"proxies": {"http-proxy": "http://192.0.2.1:3128"}, "userns-remap": "default"}, NETWORK_FLAGS),
    ],
)
def test_what_goes_together_is_not_refused(
    machine: Machine, config: dict[str, object], flags: list[str]
) -> None:
    machine.write("etc/docker/daemon.json", json.dumps(config))
    assert machine.refusals(*flags) == []


def test_a_gateway_outside_of_the_test_network_is_refused(machine: Machine) -> None:
    machine.write("etc/docker/daemon.json", '{"default-gateway": "10.77.9.9"}')
    assert machine.refusals() == []
    machine.write("etc/docker/daemon.json", '{"default-gateway": "192.0.2.1"}')
    (refusal,) = machine.refusals()
    assert "which is not in 10.77.0.0/16, the network of the bridge" in refusal


@pytest.mark.parametrize(("text", "words"), [("{", "is no JSON"), ("[]", "is not an object")])
def test_a_daemon_json_that_cannot_be_read_is_refused(machine: Machine, text: str, words: str) -> None:
    path = machine.write("etc/docker/daemon.json", text)
    (refusal,) = machine.refusals()
    assert refusal.startswith(path)
    assert words in refusal


def test_another_drop_in_that_sets_the_command_line_is_refused(machine: Machine) -> None:
    place = machine.write(
        "etc/systemd/system/docker.service.d/override.conf", "[Service]\nExecStart=\nExecStart=/bin/dockerd\n"
    )
    machine.write(OWN, "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd\n")
    assert machine.refusals() == [f"{place} sets ExecStart, and is not ours"]


def test_a_unit_that_starts_something_else_is_refused(machine: Machine) -> None:
    machine.write("etc/systemd/system/docker.service", "[Service]\nExecStart=/opt/engine/start -H fd://\n")
    (refusal,) = machine.refusals()
    assert refusal.endswith("starts /opt/engine/start, not dockerd: perfctl cannot add flags to it")


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_dockerd_that_can_be_asked_is_asked(machine: Machine, tmp_path: Path) -> None:
    program = tmp_path / "sbin" / "dockerd"
    _program(
        program,
        'case "$*" in --help) echo "  --validate   Validate daemon configuration" ;;\n'
        '*--log-level=loud*--validate) echo "invalid logging level: loud" >&2; exit 1 ;;\nesac',
    )
    machine.write("etc/systemd/system/docker.service", f"[Service]\nExecStart={program} -H fd://\n")
    assert machine.refusals("--debug") == []
    assert machine.refusals("--log-level=loud") == ["dockerd would not start: invalid logging level: loud"]


def test_an_engine_that_keeps_its_network_while_containers_run_is_refused(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(tmp_path / "bin" / "docker", "echo web; echo db")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert machine.plan()["containers"] == ["web", "db"]
    place = machine.write("etc/docker/daemon.json", '{"live-restore": true}')
    assert machine.refusals() == [
        f'{place} says {{"live-restore": true}}: dockerd keeps its network as it is while containers run; '
        "stop web, db"
    ]


# -- units as text ---------------------------------------------------------------------------------


def test_the_units_command_line_is_found_across_lines() -> None:
    unit = "[Service]\nExecStart=/usr/bin/dockerd \\\n# note\n    -H fd:// $OPTS\nExecReload=/bin/kill\n"
    assert docker.exec_starts(unit) == ["/usr/bin/dockerd -H fd:// $OPTS"]


def test_short_and_long_flags_are_the_same() -> None:
    words = ["-H", "fd://", "-b", "br0", "--mtu=1500", "-D", "-lwarn", "-Dbbr2", "--icc=false"]
    found = docker.parse_command_line((word, "here") for word in words)
    assert [(option.name, option.value) for option in found] == [
        ("host", "fd://"),
        ("bridge", "br0"),
        ("mtu", "1500"),
        ("debug", None),
        ("log-level", "warn"),
        ("debug", None),
        ("bridge", "br2"),
        ("icc", "false"),
    ]


def test_variables_are_put_in_as_systemd_does() -> None:
    variables = {"OPTS": ('--dns 192.0.2.1 --label "a b"', "file"), "NET": ("br0", "unit")}
    assert docker.expand("/usr/bin/dockerd $OPTS --bridge=${NET} $NOTHING", variables, "vendor") == [
        ("/usr/bin/dockerd", "vendor"),
        ("--dns", "file"),
        ("192.0.2.1", "file"),
        ("--label", "file"),
        ("a b", "file"),
        ("--bridge=br0", "unit"),
    ]


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("", {}),
        ('#DOCKER_OPTS="--dns 192.0.2.1"\n', {}),
        ('DOCKER_OPTS="--dns 192.0.2.1 -b br0"\n', {"DOCKER_OPTS": "--dns 192.0.2.1 -b br0"}),
        ("A=\nB='x' \nnot a variable\n", {"A": "", "B": "x"}),
        ("A=--mtu \\\n1500\n", {"A": "--mtu 1500"}),
    ],
)
def test_a_file_of_variables_is_read(text: str, variables: dict[str, str]) -> None:
    assert docker.environment_of_file(text) == variables


# -- taking it back --------------------------------------------------------------------------------

FAKE_SYSTEMCTL = """
echo "$*" >> {folder}/calls
case $1 in
    restart) if grep -q bad {path}; then : > {folder}/dead; exit 1; fi; rm -f {folder}/dead ;;
    stop) : > {folder}/dead ;;
    is-active) [ ! -e {folder}/dead ] ;;
esac
"""
JOURNAL = """time="2026-01-01T00:00:00Z" level=info msg="Starting up"
time="2026-01-01T00:00:00Z" level=error msg="cannot use \\"br1\\""
failed to start daemon: You specified -b & --bip, mutually exclusive options
"""


class Engine:
    """A docker.service that does not start when its drop-in has the word bad in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "docker.service.d" / "50-perfctl.conf"
        _program(folder / "bin" / "systemctl", FAKE_SYSTEMCTL.format(folder=folder, path=self.path))
        _program(folder / "bin" / "journalctl", f"cat {folder}/journal")
        _program(folder / "bin" / "docker", f"[ ! -e {folder}/dead ]")
        (folder / "journal").write_text(JOURNAL)

    def apply(self, text: str) -> None:
        """Install a drop-in."""
        drop_in.apply(self.path, text.encode(), 5)

    @property
    def runs(self) -> bool:
        """Whether it runs."""
        return not (self.folder / "dead").exists()


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Return an engine that runs, without a drop-in."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return Engine(tmp_path)


def test_a_drop_in_that_works_stays(engine: Engine) -> None:
    engine.apply("good")
    assert engine.path.read_text() == "good"
    assert engine.path.stat().st_mode & 0o777 == 0o644
    calls = (engine.folder / "calls").read_text().splitlines()
    assert [call for call in calls if "reload" in call or "restart" in call] == [
        "daemon-reload",
        "restart docker.service",
    ]


def test_a_drop_in_that_stops_dockerd_is_taken_back_and_the_engine_runs_as_before(engine: Engine) -> None:
    with pytest.raises(drop_in.EngineError) as caught:
        engine.apply("bad")
    assert str(caught.value) == (
        f'dockerd did not start with {engine.path}: cannot use "br1"; failed to start daemon: You specified '
        "-b & --bip, mutually exclusive options. The change was taken back, and the engine runs as before"
    )
    assert not engine.path.parent.exists()
    assert engine.runs


def test_the_drop_in_of_before_is_restored_byte_for_byte(engine: Engine) -> None:
    engine.apply("good\x01\n\n")
    with pytest.raises(drop_in.EngineError, match="The change was taken back, and the engine runs as before"):
        engine.apply("bad")
    assert engine.path.read_bytes() == b"good\x01\n\n"
    assert [path.name for path in engine.path.parent.iterdir()] == [engine.path.name]
    assert engine.runs


def test_an_engine_that_did_not_run_is_not_started_by_what_is_taken_back(engine: Engine) -> None:
    (engine.folder / "dead").touch()
    with pytest.raises(drop_in.EngineError, match="the engine did not run before"):
        engine.apply("bad")
    assert not engine.runs


def test_an_engine_that_starts_but_does_not_answer_counts_as_failed(engine: Engine) -> None:
    _program(engine.folder / "bin" / "docker", f"! grep -q mute {engine.path}")
    with pytest.raises(drop_in.EngineError, match=r"did not answer in 1 s with .* runs as before"):
        drop_in.apply(engine.path, b"mute", 1)


def test_an_engine_that_does_not_come_back_either_is_said(engine: Engine) -> None:
    engine.path.parent.mkdir()
    engine.path.write_text("bad of somebody")
    with pytest.raises(drop_in.EngineError, match="taken back, but without it, too, dockerd did not start"):
        engine.apply("bad")
    assert engine.path.read_text() == "bad of somebody"


@pytest.mark.parametrize(
    ("journal", "said"),
    [
        ("", ""),
        ('time="x" level=info msg="fine"\n', ""),
        ('time="x" level=fatal msg="no"\n', "no"),
        ("a\nb\nb\nc\nd\n", "b; c; d"),
    ],
)
def test_what_dockerd_gives_as_its_reason(journal: str, said: str) -> None:
    assert drop_in.reasons(journal) == said
