"""Containers made by a real engine: alive, dead, refused, and always removed."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from perfctl import facts
from perfctl.environments import EnvironmentDriver, EnvironmentShell, environment, label
from perfctl.environments.container import Docker
from perfctl.environments.container.engine import INVOCATION_LABEL, KEEP_ALIVE, RUN_LABEL
from perfctl.environments.container.shell import ContainerShell
from perfctl.environments.drivers import driver_for, remove_all
from perfctl.errors import CommandFailed, EnvironmentDied, EnvironmentNotMade
from perfctl.facts.on_host import NotEntered, read_container
from perfctl.facts.reading import inside_specs, request_of
from perfctl.job import JobShell, JobTimeout
from perfctl.model import Environment, Fact, FactState, Fingerprint, new_id
from perfctl.shell import Completed, Process, Shell
from perfctl.shell.local import LocalShell
from tests.processes import unique_seconds, wait_until, with_argument
from tests.tiny_image import RELEASE, tiny_image

pytestmark = pytest.mark.lab("engine")


@pytest.fixture(scope="module")
def host(engine: None) -> LocalShell:
    """Return this machine, with an engine."""
    tiny_image()
    return LocalShell("here")


@pytest.fixture
def run_id(host: LocalShell) -> Iterator[str]:
    """Return a run's id; nothing of it may be left afterwards."""
    made = new_id()
    yield made
    left = remove_all(host, made)
    assert left == []


def driver(run_id: str, what: str | Environment = "container", image: str | None = None) -> EnvironmentDriver:
    return driver_for(
        environment(what) if isinstance(what, str) else what,
        run_id=run_id,
        invocation_id=new_id(),
        host_address="192.0.2.1",
        image=image or tiny_image(),
    )


def containers(run_id: str) -> list[str]:
    done = subprocess.run(Docker().list_argv(run_id), capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.split()


class Prefixed:
    """A host whose commands run behind other words, such as `env NAME=VALUE`."""

    name = "odd"

    def __init__(self, host: Shell, *words: str) -> None:
        self._host = host
        self._words = words

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        return self._host.run([*self._words, *argv], timeout_s=timeout_s, stdin=stdin)

    def spawn(self, argv: Sequence[str]) -> Process:
        return self._host.spawn([*self._words, *argv])

    def put(self, local: Path, remote: str, *, mode: int) -> None:
        self._host.put(local, remote, mode=mode)

    def get(self, remote: str) -> bytes:
        return self._host.get(remote)


# --- always removed -----------------------------------------------------------------------------------------


def test_a_container_lives_as_long_as_its_block(host, run_id):
    with driver(run_id).open(host) as shell:
        assert len(containers(run_id)) == 1
        assert shell.is_alive()
        assert shell.name == "here/container"
    assert containers(run_id) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_removed_when_the_body_raises(host, run_id, error):
    with pytest.raises(error), driver(run_id).open(host) as shell:
        shell.spawn(["sleep", "1000"])
        raise error
    assert containers(run_id) == []


def test_each_opening_is_a_fresh_container(host, run_id):
    one = driver(run_id)
    with one.open(host) as shell:
        shell.run(["sh", "-c", "echo x >/left"], timeout_s=30)
    with one.open(host) as shell:
        assert shell.run(["cat", "/left"], timeout_s=30).exit_code == 1


def test_a_container_that_others_removed_already_is_no_error(host, run_id):
    with driver(run_id).open(host):
        assert remove_all(host, run_id) != []


def test_the_reaper_takes_only_its_own_run(host, run_id):
    other = new_id()
    with driver(other).open(host) as kept:
        for number in (1, 2):
            labels = {RUN_LABEL: run_id, INVOCATION_LABEL: new_id()}
            stock = replace(environment("container"), image=tiny_image())
            left = Docker().run_argv(stock, f"perfctl-test-{run_id[-8:]}-{number}", labels)
            assert host.run(left, timeout_s=60).exit_code == 0
        assert len(remove_all(host, run_id)) == 2
        assert containers(run_id) == []
        assert kept.is_alive()


def test_describing_and_checking_leave_nothing(host, run_id):
    made = driver(run_id)
    made.check(host)
    described = made.describe(host)
    assert containers(run_id) == []
    assert described["image.id"].startswith("sha256:")
    assert described["engine.version"][0].isdigit()
    assert described["engine.runtime"] != ""
    assert '"NetworkMode": "bridge"' in described["container.host_config"]
    assert "driver.mtu" in described["network.options"]
    assert made.describe(host) == described


# --- the commands inside ------------------------------------------------------------------------------------


def test_the_address_is_the_containers_own(host, run_id):
    with driver(run_id).open(host) as shell:
        assert shell.address in shell.run(["cat", "/proc/net/fib_trie"], timeout_s=30).text


def test_on_the_hosts_network_the_container_sees_the_hosts_interfaces(host, run_id):
    with driver(run_id, "container-hostnet").open(host) as shell:
        assert shell.address == "192.0.2.1"
        inside = shell.run(["ls", "/sys/class/net"], timeout_s=30).text.split()
    assert "docker0" in inside


def test_a_stopped_server_is_gone_inside_too(host, run_id):
    seconds = unique_seconds()
    with driver(run_id).open(host) as shell:
        server = shell.spawn(["sh", "-c", f"sleep {seconds} & sleep {seconds}"])
        wait_until(lambda: len(with_argument(seconds)) == 2, "both sleepers")
        server.stop()
        assert with_argument(seconds) == []
        assert not server.is_running()
        assert shell.is_alive()


def test_a_server_that_ignores_sigterm_is_killed(host, run_id):
    seconds = unique_seconds()
    with driver(run_id).open(host) as shell:
        server = shell.spawn(["sh", "-c", f"trap '' TERM; while :; do sleep {seconds}; done"])
        wait_until(lambda: with_argument(seconds), "the sleeper")
        server.stop()
        assert with_argument(seconds) == []


def test_a_server_can_be_stopped_as_soon_as_it_is_started(host, run_id):
    seconds = unique_seconds()
    with driver(run_id).open(host) as shell:
        shell.spawn(["sleep", seconds]).stop()
        assert with_argument(seconds) == []


def test_dead_orphans_do_not_pile_up(host, run_id):
    with driver(run_id).open(host) as shell:
        shell.run(["sh", "-c", "for n in 1 2 3; do (sleep 0.01 &); done"], timeout_s=30)
        states = "cat /proc/[0-9]*/stat | grep -c ' Z ' || true"
        wait_until(
            lambda: shell.run(["sh", "-c", states], timeout_s=30).text.strip() == "0", "the orphans' end"
        )


def test_a_job_that_timed_out_keeps_its_own_words(host, run_id, tmp_path):
    jobs = JobShell.start(host, run_id, lifetime_s=120, spool_root=str(tmp_path))
    try:
        with driver(run_id).open(jobs) as shell:
            completed = shell.run(["echo", "x"], timeout_s=30)
            assert completed.started_ns is not None
            assert completed.argv == ("echo", "x")
            with pytest.raises(JobTimeout) as caught:
                shell.run(["sh", "-c", "echo half; sleep 60"], timeout_s=5)
    finally:
        jobs.stop()
    assert str(caught.value) == "here/container: sh did not end within 5 s"
    assert caught.value.completed.argv == ("sh", "-c", "echo half; sleep 60")
    assert caught.value.completed.stdout == b"half\n"


# --- what its label says ------------------------------------------------------------------------------------

NO_FOLDERS = """{"defaultAction": "SCMP_ACT_ALLOW",
 "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}"""


@pytest.mark.parametrize(
    ("changes", "lie"),
    [
        (
            {"seccomp_profile": NO_FOLDERS, "no_new_privileges": True},
            {"security_opt": ("seccomp=unconfined",)},
        ),
        (
            {"security_opt": ("seccomp=unconfined",), "cap_drop": ("ALL",), "cap_add": ("CHOWN",)},
            {"no_new_privileges": True},
        ),
        (
            {"read_only": True, "tmpfs": ("/tmp",), "userns": "host", "cap_add": ("SYS_NICE",)},
            {"cap_drop": ("KILL",)},
        ),
    ],
)
def test_what_the_kernel_says_of_a_container_is_what_its_label_says(host, run_id, changes, lie):
    wanted = replace(environment("container"), name="mine", **changes)
    own = label.parse_task(host.run(label.READ_ARGV, timeout_s=30).stdout)
    with driver(run_id, wanted).open(host) as shell:
        task = label.parse_task(shell.run(label.READ_ARGV, timeout_s=30).stdout)
        written = shell.run(["sh", "-c", "echo x >/tmp/file && echo x >/file"], timeout_s=30)
    assert {"Seccomp", "NoNewPrivs", "CapEff", "Cpus_allowed_list"} <= set(task)
    assert label.contradictions(wanted, task, own) == ()
    assert (written.exit_code == 0) is not wanted.read_only
    assert len(label.contradictions(replace(environment("container"), **lie), task, own)) == 1


# --- dead and impossible ------------------------------------------------------------------------------------


def test_a_container_that_dies_between_commands_is_told_from_a_failed_command(host, run_id):
    with pytest.raises(EnvironmentDied) as caught, driver(run_id).open(host) as shell:
        (name,) = containers(run_id)
        subprocess.run(["docker", "kill", name], capture_output=True, timeout=60, check=True)
        assert not shell.is_alive()
        shell.run(["true"], timeout_s=30)
    assert caught.value.where == "here/container"
    assert "state exited, exit code 137" in str(caught.value)


def test_a_container_that_dies_under_a_command(host, run_id):
    with driver(run_id).open(host) as shell:
        completed = shell.run(["sh", "-c", "echo before; kill -TERM 1; sleep 60"], timeout_s=30)
        assert completed.exit_code != 0
        assert completed.stdout == b"before\n"
        wait_until(lambda: not shell.is_alive(), "the container's end")
        assert "state exited, exit code 0" in shell.state_report()


def test_an_absent_image_says_so_and_is_not_downloaded(host, run_id):
    absent = driver(run_id, image="perfctl-test/no-such-image:1")
    with pytest.raises(EnvironmentNotMade, match="perfctl-test/no-such-image:1 is not there") as caught:
        absent.check(host)
    assert caught.value.hint == "build it: perfctl provision"
    with pytest.raises(EnvironmentNotMade, match="is not there"), absent.open(host):
        pytest.fail("the body ran")
    assert containers(run_id) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cap_add": ("NO_SUCH_CAPABILITY",)}, "NO_SUCH_CAPABILITY"),
        ({"security_opt": ("seccomp=/no/such/profile.json",)}, "seccomp profile cannot be read"),
        ({"network": "no-such-network"}, "no-such-network"),
    ],
)
def test_what_the_suite_names_and_nobody_has_is_not_made_with_the_reason(host, run_id, changes, words):
    impossible = driver(run_id, replace(environment("container"), **changes))
    with pytest.raises(EnvironmentNotMade, match=words):
        impossible.check(host)
    with pytest.raises(EnvironmentNotMade, match=words), impossible.open(host):
        pytest.fail("the body ran")
    assert containers(run_id) == []


def test_no_daemon(host, run_id):
    odd = Prefixed(host, "env", "DOCKER_HOST=unix:///nonexistent.sock")
    with pytest.raises(EnvironmentNotMade, match="daemon does not answer") as caught:
        driver(run_id).check(odd)
    assert "systemctl start docker" in str(caught.value.hint)
    assert remove_all(odd, run_id) == []


def test_no_docker_client(host, run_id, tmp_path):
    for program in Path("/usr/bin").iterdir():
        if program.name not in ("docker", "virsh"):
            (tmp_path / program.name).symlink_to(program)
    odd = Prefixed(host, "env", f"PATH={tmp_path}")
    with pytest.raises(EnvironmentNotMade, match="no docker client"):
        driver(run_id).check(odd)
    assert remove_all(odd, run_id) == []


def test_a_container_that_cannot_be_removed_is_named(host, run_id):
    with pytest.raises(CommandFailed) as caught, driver(run_id).open(Refusing(host)):
        (name,) = containers(run_id)
    assert name in str(caught.value)
    assert name in str(caught.value.hint)
    assert remove_all(host, run_id) == [name]


class Refusing(Prefixed):
    """A host whose engine does not remove containers."""

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        if list(argv[:2]) == ["docker", "rm"]:
            argv = ["sh", "-c", "echo 'device or resource busy' >&2; exit 1"]
        return super().run(argv, timeout_s=timeout_s, stdin=stdin)


# --- facts --------------------------------------------------------------------------------------------------


def on_host(host: Shell, shell: EnvironmentShell) -> facts.ContainerOnHost:
    return facts.ContainerOnHost(host, shell.container_id)


def read_facts(shell: EnvironmentShell, host: Shell | None = None) -> Fingerprint:
    """Return the facts of a container, its files read by a host that is given."""
    return facts.read_inside(
        shell,
        container=on_host(host, shell) if host else None,
        programs=["sh", "sysbench"],
        version_argvs=[["grep", "--version"], ["sysbench", "--version"]],
    )


def found(reading: Fingerprint, name: str) -> Fact:
    fact = reading.get(name)
    assert fact is not None
    return fact


@contextmanager
def by_hand(
    host: Shell, *options: str, command: Sequence[str] = ("sh", "-c", KEEP_ALIVE)
) -> Iterator[ContainerShell]:
    """Start a container with options that no environment has."""
    name = f"perfctl-test-{new_id()}"
    made = host.run(["docker", "run", "-d", "--name", name, *options, *command], timeout_s=60)
    try:
        assert made.exit_code == 0, made.error_text
        yield ContainerShell(host, Docker(), environment("container"), name, "192.0.2.1", made)
    finally:
        host.run(Docker().remove_argv(name), timeout_s=60)


def differences(one: Fingerprint, other: Fingerprint) -> set[str]:
    assert [fact.name for fact in one.facts] == [fact.name for fact in other.facts]
    return {fact.name for fact in one.facts if other.get(fact.name) != fact}


ODD = (
    # In each of these the container differs from its host, and who reads decides which of them is seen.
    # Where the limits of files differ, runc 1.1.5 lets chance decide which of them a command is run with.
    *("--sysctl", "net.ipv4.tcp_mtu_probing=2", "--cgroupns", "private", "--ulimit", "nofile=77:77"),
    *("--security-opt", "no-new-privileges", "--cap-drop", "CHOWN", "--cpuset-cpus", "0"),
    *("--env", "MALLOC_CONF=a\nb", "--env", "MALLOC_ARENA_MAX=", "--user", "12:34"),
)


@pytest.mark.parametrize("options", [("--network", "host"), ODD], ids=len)
def test_the_host_reads_in_a_container_what_a_command_in_it_reads(host, options):
    with by_hand(host, *options, tiny_image()) as shell:
        by_command = read_facts(shell)
        raw = read_container(on_host(host, shell), request_of(inside_specs()), timeout_s=60)
        by_host = read_facts(shell, host)
    assert raw.file("/etc/os-release").content == RELEASE.encode()
    # How often its group was stopped and what it used goes on.
    assert differences(by_command, by_host) <= {"cgroup.cpu_stat"}
    assert by_command.key == by_host.key
    if options == ODD:
        values = {fact.name: fact.value for fact in by_host.facts}
        assert (values["net.tcp_mtu_probing"], values["env.MALLOC_CONF"]) == ("2", "a\nb")
        assert (values["task.no_new_privs"], values["cgroup.cpuset_cpus_effective"]) == ("1", "0")
        assert shell.container_id not in values["cgroup.path"]


def test_an_image_without_a_shell_has_the_facts_that_are_files(host):
    image = tiny_image(("sleep",))
    with by_hand(host, image, command=["sleep", "600"]) as shell:
        reading = facts.read_inside(
            shell,
            container=on_host(host, shell),
            programs=["sleep", "sysbench"],
            version_argvs=[["sleep", "--version"], ["sysbench", "--version"]],
        )
    states = {fact.name: fact.state for fact in reading.facts}
    of_commands = {spec.name for spec in facts.REGISTRY if spec.inside_way == "command"}
    # They may be there; there is nothing to run them with.
    denied = {*of_commands, "tool.sleep.version"}
    assert {name for name, state in states.items() if state is FactState.DENIED} == denied
    assert states["tool.sysbench.version"] is FactState.MISSING
    digest = hashlib.sha256(Path(str(shutil.which("sleep"))).read_bytes()).hexdigest()
    assert facts.value_of(reading, "os.release", str) == RELEASE.strip()
    assert found(reading, "tool.sleep.sha256").value == digest
    present = {name for name, state in states.items() if state is FactState.PRESENT}
    assert present > {"kernel.release", "cpu.online", "task.limits", "cgroup.memory_max", "net.links"}


def test_an_image_without_a_shell_is_refused_by_name_with_what_to_do(host, run_id):
    image = tiny_image(("sleep",))
    refused = pytest.raises(EnvironmentNotMade, match=f"the image {image} has no shell")
    with refused as at_check:
        driver(run_id, image=image).check(host)
    with refused as at_open, driver(run_id, image=image).open(host):
        pass
    for refusal in (at_check, at_open):
        assert refusal.value.where == "here/container"
        assert "FROM perfctl/perf-tools" in str(refusal.value.hint)


def test_a_host_whose_user_may_not_go_inside_has_a_command_read_all(host, run_id):
    odd = Prefixed(host, "setpriv", "--reuid", "12", "--clear-groups", "env", "PATH=/usr/bin:/bin")
    with driver(run_id).open(host) as shell:
        with pytest.raises(NotEntered):
            read_container(on_host(odd, shell), request_of(inside_specs()), timeout_s=60)
        reading = read_facts(shell, odd)
    assert facts.value_of(reading, "os.release", str) == RELEASE.strip()
    assert found(reading, "tool.grep.version").state is FactState.PRESENT


def test_the_same_environment_has_the_same_fingerprint_each_time(host, run_id):
    readings = []
    for _ in range(2):
        with driver(run_id).open(host) as shell:
            readings.append(read_facts(shell, host))
    assert [str(change) for change in facts.diff(*readings)] == []
    assert readings[0].key == readings[1].key


def test_a_relaxation_shows_in_the_facts(host, run_id):
    with driver(run_id).open(host) as shell:
        stock = read_facts(shell, host)
    with driver(run_id, "container-unconfined").open(host) as shell:
        unconfined = read_facts(shell, host)
    changed = {change.name for change in facts.diff(stock, unconfined)}
    assert {"task.seccomp", "task.seccomp_filters"} <= changed
    assert changed <= {
        *("task.seccomp", "task.seccomp_filters"),
        *("task.speculation_store_bypass", "task.speculation_indirect_branch"),
    }


def test_an_almost_empty_container_has_every_row(host, run_id):
    with driver(run_id).open(host) as shell:
        reading, by_command = read_facts(shell, host), read_facts(shell)
    assert differences(by_command, reading) <= {"cgroup.cpu_stat"}
    tools = {f"tool.{name}.{what}" for name in ("sh", "sysbench") for what in ("path", "sha256")}
    tools |= {"tool.grep.version", "tool.sysbench.version"}
    wanted = {spec.name for spec in facts.REGISTRY if spec.inside} | tools
    assert {fact.name for fact in reading.facts} == wanted
    states = {fact.name: fact.state for fact in reading.facts}
    assert states["tool.sysbench.path"] is states["python.version"] is FactState.MISSING
    assert states["tool.sysbench.version"] is FactState.MISSING
    assert states["kernel.release"] is states["tool.sh.sha256"] is FactState.PRESENT
