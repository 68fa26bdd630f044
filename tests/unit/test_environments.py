"""Environments without an engine: the catalogue, the docker command lines, and what docker's words mean."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from perfctl.environments import CATALOGUE, environment
from perfctl.environments.container import Docker
from perfctl.environments.container.engine import KEEP_ALIVE
from perfctl.environments.drivers import driver_for, remove_all, runs_with_containers
from perfctl.errors import (
    CommandFailed,
    CommandTimeout,
    EnvironmentDied,
    EnvironmentFailure,
    EnvironmentNotMade,
    EnvironmentUnavailable,
    HostUnreachable,
    UnknownName,
)
from perfctl.shell import Completed, Process

RUN_ID = "01990000-0000-7000-8000-00000000aaaa"
INVOCATION_ID = "01990000-0000-7000-8000-00000000bbbb"
LABELS = {"perfctl.run": RUN_ID}

Answer = Completed | BaseException


def said(exit_code: int = 0, stdout: str = "", stderr: str = "") -> Completed:
    return Completed((), exit_code, stdout.encode(), stderr.encode(), started_ns=5, ended_ns=9)


class ScriptedHost:
    """A Shell that answers each docker command as told and remembers what it was asked."""

    name = "h1"

    def __init__(self, answer: Callable[[Sequence[str]], Answer]) -> None:
        self.asked: list[list[str]] = []
        self._answer = answer

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        self.asked.append(list(argv))
        answer = self._answer(argv)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def spawn(self, argv: Sequence[str]) -> Process:
        raise NotImplementedError

    def put(self, local: Path, remote: str, *, mode: int) -> None:
        raise NotImplementedError

    def get(self, remote: str) -> bytes:
        raise NotImplementedError

    def verbs(self) -> list[str]:
        return [argv[1] for argv in self.asked]


def answering(**answers: Answer) -> ScriptedHost:
    return ScriptedHost(lambda argv: answers.get(argv[1], said()))


def driver(name: str = "container", image: str | None = None):
    return driver_for(
        environment(name), run_id=RUN_ID, invocation_id=INVOCATION_ID, host_address="10.0.0.1", image=image
    )


# --- the catalogue ------------------------------------------------------------------------------------------


def test_the_baseline_comes_first_and_every_key_differs():
    assert next(iter(CATALOGUE)) == "native"
    assert all(name == each.name for name, each in CATALOGUE.items())
    assert len({each.key for each in CATALOGUE.values()}) == len(CATALOGUE)


def test_stock_container_relaxes_nothing():
    stock = environment("container")
    assert (stock.network, stock.security_opt, stock.cap_add, stock.privileged) == ("bridge", (), (), False)


def test_unknown_environment_names_what_comes_close():
    with pytest.raises(UnknownName) as caught:
        environment("contianer")
    assert caught.value.exit_code == 2
    assert "container" in str(caught.value.hint)


def test_unknown_environment_like_nothing_lists_all():
    with pytest.raises(UnknownName) as caught:
        environment("zzz")
    assert all(name in str(caught.value.hint) for name in CATALOGUE)


# --- command lines ------------------------------------------------------------------------------------------


def test_run_is_stock_and_downloads_nothing():
    argv = Docker().run_argv(environment("container"), "c1", LABELS)
    assert argv == [
        *["docker", "run", "-d", "--name", "c1", "--pull", "never"],
        *["--label", f"perfctl.run={RUN_ID}", "--network", "bridge"],
        *["--entrypoint", "sh", "perfctl/perf-tools:latest", "-c", KEEP_ALIVE],
    ]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("container-hostnet", ["--network", "host"]),
        ("container-unconfined", ["--network", "bridge", "--security-opt", "seccomp=unconfined"]),
        ("container-apparmor-unconfined", ["--network", "bridge", "--security-opt", "apparmor=unconfined"]),
        ("container-allcaps", ["--network", "bridge", "--cap-add", "ALL"]),
        ("container-privileged", ["--network", "bridge", "--privileged"]),
    ],
)
def test_each_relaxation_is_exactly_its_options(name, options):
    argv = Docker().run_argv(environment(name), "c1", {})
    assert argv[7 : argv.index("--entrypoint")] == options


def test_probe_and_create_take_the_same_options_as_run():
    wanted = environment("container-unconfined")
    run = Docker().run_argv(wanted, "c1", LABELS)
    options = run[run.index("--name") : run.index("--entrypoint")]
    for argv in (Docker().probe_argv(wanted, "c1", LABELS), Docker().create_argv(wanted, "c1", LABELS)):
        assert argv[argv.index("--name") : argv.index("--entrypoint")] == options


def test_exec_opens_stdin_only_for_input():
    assert Docker().exec_argv("c1", ["true"]) == ["docker", "exec", "c1", "true"]
    assert Docker().exec_argv("c1", ["cat"], has_stdin=True) == ["docker", "exec", "-i", "c1", "cat"]


def test_remove_takes_volumes_along():
    assert Docker().remove_argv("c1", "c2") == ["docker", "rm", "-f", "-v", "c1", "c2"]


# --- docker's words -----------------------------------------------------------------------------------------

CAPS = (
    "docker: Error response from daemon: failed to create shim task: OCI runtime create failed: runc create "
    "failed: unable to start container process: unable to apply caps: operation not permitted: unknown."
)

NO_SHELL = (
    "docker: Error response from daemon: failed to create shim task: OCI runtime create failed: runc create "
    'failed: unable to start container process: exec: "sh": executable file not found in $PATH: unknown.'
)


@pytest.mark.parametrize(
    ("exit_code", "stderr", "message", "hint"),
    [
        (127, "sh: 1: exec: docker: not found", "no docker client", "perfctl provision"),
        (
            125,
            "docker: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker "
            "daemon running?.\nSee 'docker run --help'.",
            "daemon does not answer",
            "systemctl start docker",
        ),
        (
            125,
            "docker: permission denied while trying to connect to the Docker daemon socket",
            "may not talk",
            "ansible_become",
        ),
        (
            125,
            "docker: Error response from daemon: No such image: perfctl/perf-tools:latest.",
            "perfctl/perf-tools:latest is not there",
            "perfctl provision",
        ),
        (125, CAPS, "lacks capabilities", "--env"),
        (125, "docker: opening seccomp profile (/x.json) failed: open /x.json", "seccomp profile", "copy"),
        (127, NO_SHELL, "the image perfctl/perf-tools:latest has no shell", "FROM perfctl/perf-tools"),
    ],
)
def test_what_is_not_made_says_why_and_what_to_do(exit_code, stderr, message, hint):
    with pytest.raises(EnvironmentFailure) as caught:
        driver().check(answering(run=said(exit_code, stderr=stderr)))
    assert message in str(caught.value)
    assert hint in str(caught.value.hint)
    assert caught.value.where == "h1/container"


DAEMON = "docker: Error response from daemon: "
OCI = f"{DAEMON}failed to create task for container: OCI runtime create failed: runc create failed: "


@pytest.mark.parametrize(
    ("stderr", "kind"),
    [
        # The host or its kernel refuse: nobody can mend it in the suite or by provisioning.
        (CAPS, EnvironmentUnavailable),
        (f'{OCI}error mounting "proc" to rootfs at "/proc": operation not permitted', EnvironmentUnavailable),
        (f"{OCI}unable to apply cgroup configuration: mkdir /sys/fs/cgroup/docker: read-only file system",
         EnvironmentUnavailable),
        (f'{DAEMON}error gathering device information while adding custom device "/dev/kvm": no such file or'
         " directory", EnvironmentUnavailable),
        (f'{DAEMON}could not select device driver "" with capabilities: [[gpu]]', EnvironmentUnavailable),
        (f"{DAEMON}NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler",
         EnvironmentUnavailable),
        (f"{DAEMON}Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
         EnvironmentUnavailable),
        (f"{DAEMON}failed to create endpoint on network bridge: failed to add the host (veth1) <=> sandbox"
         " (veth2) pair interfaces: operation not supported", EnvironmentUnavailable),
        (f"{OCI}seccomp is not enabled in your kernel, cannot run a custom seccomp profile",
         EnvironmentUnavailable),
        # The suite, or the provisioning, can mend it.
        ("docker: Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", EnvironmentNotMade),
        ("docker: permission denied while trying to connect to the Docker daemon socket", EnvironmentNotMade),
        (f"{DAEMON}No such image: perfctl/perf-tools:latest.", EnvironmentNotMade),
        (f"{DAEMON}unknown or invalid runtime name: runsc", EnvironmentNotMade),
        (f'{OCI}exec: "sh": executable file not found in $PATH', EnvironmentNotMade),
        (f"{DAEMON}network no-such-network not found", EnvironmentNotMade),
        ("docker: opening seccomp profile (/x.json) failed: open /x.json: no such file", EnvironmentNotMade),
        ("docker: no space left on device", EnvironmentNotMade),
        ("docker: something that nobody has seen", EnvironmentNotMade),
    ],
)  # fmt: skip
def test_what_the_host_refuses_is_told_from_what_can_be_mended(stderr, kind):
    with pytest.raises(EnvironmentFailure) as caught:
        driver().check(answering(run=said(125, stderr=stderr), info=said(stdout="{}")))
    assert type(caught.value) is kind


def test_unknown_words_are_passed_on_as_they_are():
    with pytest.raises(EnvironmentNotMade, match="no space left on device"):
        driver().check(answering(run=said(125, stderr="docker: no space left on device\nmore")))


@pytest.mark.parametrize("exit_code", [126, 127])
def test_a_missing_program_is_127_on_stderr_as_natively(exit_code):
    words = (
        'OCI runtime exec failed: exec failed: exec: "nosuch": executable file not found in $PATH: unknown\n'
    )
    with driver().open(answering(exec=said(exit_code, stdout=words))) as shell:
        completed = shell.run(["nosuch"], timeout_s=1)
    assert (completed.exit_code, completed.stdout) == (127, b"")
    assert completed.stderr.startswith(b"nosuch: OCI runtime exec failed")


def test_a_program_that_may_not_run_is_126():
    words = 'OCI runtime exec failed: exec failed: exec: "/etc/passwd": permission denied: unknown\n'
    with driver().open(answering(exec=said(126, stdout=words))) as shell:
        assert shell.run(["/etc/passwd"], timeout_s=1).exit_code == 126


def test_a_benchmarks_own_127_is_left_alone():
    with driver().open(answering(exec=said(127, stdout="12 ms\n", stderr="hm"))) as shell:
        completed = shell.run(["sh", "-c", "exit 127"], timeout_s=1)
    assert (completed.exit_code, completed.stdout, completed.stderr) == (127, b"12 ms\n", b"hm")


# --- the life of a container --------------------------------------------------------------------------------


def test_the_command_keeps_its_own_argv_and_the_hosts_clock():
    with driver().open(answering(exec=said(0, stdout="x"))) as shell:
        completed = shell.run(["sysbench", "cpu", "run"], timeout_s=1)
    assert completed.argv == ("sysbench", "cpu", "run")
    assert (completed.started_ns, completed.ended_ns) == (5, 9)


def test_one_call_to_open_and_one_to_close():
    host = answering()
    with driver().open(host) as shell:
        assert shell.name == "h1/container"
    assert host.verbs() == ["run", "rm"]
    name = host.asked[0][host.asked[0].index("--name") + 1]
    assert name.startswith("perfctl-0000aaaa-0000bbbb-")
    assert host.asked[1] == ["docker", "rm", "-f", "-v", name]
    assert f"perfctl.invocation={INVOCATION_ID}" in host.asked[0]


def test_client_and_server_of_one_invocation_have_different_names():
    host = answering()
    with driver().open(host), driver().open(host):
        names = [argv[argv.index("--name") + 1] for argv in host.asked]
    assert len(set(names)) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("x"), CommandTimeout("slow")])
def test_removed_when_the_body_raises(error):
    host = answering()
    with pytest.raises(type(error)), driver().open(host):
        raise error
    assert host.verbs() == ["run", "rm"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), CommandTimeout("slow"), HostUnreachable("gone")])
def test_removed_when_the_start_does_not_come_back(error):
    host = answering(run=error)
    with pytest.raises(type(error)), driver().open(host):
        pytest.fail("the body ran")
    assert host.verbs() == ["run", "rm"]


def test_removed_when_the_start_fails_half_way():
    host = answering(run=said(125, stderr=CAPS))
    with pytest.raises(EnvironmentUnavailable, match="unable to apply caps"), driver().open(host):
        pytest.fail("the body ran")
    assert host.verbs() == ["run", "rm"]


def test_a_failed_removal_is_an_error_that_names_the_container():
    host = answering(rm=said(1, stderr="Error response from daemon: device or resource busy"))
    with pytest.raises(CommandFailed) as caught, driver().open(host):
        pass
    name = host.asked[0][host.asked[0].index("--name") + 1]
    assert name in str(caught.value)
    assert name in str(caught.value.hint)
    assert host.verbs() == ["run", "rm", "rm"]


def test_a_failed_removal_after_a_failed_body_is_a_note_on_that_failure():
    host = answering(rm=said(1, stderr="busy"))
    with pytest.raises(ValueError, match="first") as caught, driver().open(host):
        raise ValueError("first")
    assert "was not removed: busy" in caught.value.__notes__[0]


def test_a_container_that_is_gone_is_no_failed_command():
    name = "perfctl-1"
    state = {"Status": "exited", "ExitCode": 137, "OOMKilled": True, "Error": ""}
    host = answering(
        exec=said(1, stderr=f"Error response from daemon: Container {name} is not running"),
        inspect=said(0, stdout=json.dumps(state)),
        logs=said(0, stdout="last line\n"),
    )
    with pytest.raises(EnvironmentDied) as caught, driver().open(host) as shell:
        shell.run(["true"], timeout_s=1)
    for words in ("exited", "exit code 137", "OOM-killed", "last line"):
        assert words in str(caught.value)


def test_a_benchmark_that_exits_1_is_a_value():
    with driver().open(answering(exec=said(1, stderr="Error: No such table: sbtest1"))) as shell:
        assert shell.run(["sysbench"], timeout_s=1).exit_code == 1


def test_after_a_timeout_what_runs_inside_is_ended():
    calls: Iterator[Answer] = iter([CommandTimeout("slow"), said()])
    host = ScriptedHost(lambda argv: next(calls) if argv[1] == "exec" else said())
    with pytest.raises(CommandTimeout), driver().open(host) as shell:
        shell.run(["sleep", "100"], timeout_s=1)
    assert host.asked[2][-3:] == ["sh", "-c", "kill -KILL -1"]


def test_address_is_asked_for_late_and_once():
    host = answering(inspect=said(0, stdout="4711 172.17.0.5 \n"))
    with driver().open(host) as shell:
        assert host.verbs() == ["run"]
        assert (shell.address, shell.address) == ("172.17.0.5", "172.17.0.5")
        assert shell.host_network_folder == "/proc/4711/net"
    assert host.verbs() == ["run", "inspect", "rm"]


def test_on_the_hosts_network_the_address_is_the_hosts():
    host = answering()
    with driver("container-hostnet").open(host) as shell:
        assert shell.address == "10.0.0.1"
        assert shell.host_network_folder == "/proc/net"
    assert host.verbs() == ["run", "rm"]


@pytest.mark.parametrize("network", ["bridge", "host"])
def test_of_a_runtime_with_a_kernel_of_its_own_the_host_sees_no_sockets(network) -> None:
    sandboxed = replace(environment("container"), runtime="runsc", network=network)
    made = driver_for(sandboxed, run_id=RUN_ID, invocation_id=INVOCATION_ID, host_address="10.0.0.1")
    with made.open(answering(inspect=said(0, stdout="4711 172.17.0.5 \n"))) as shell:
        assert shell.host_network_folder is None


def test_of_a_container_that_has_ended_the_host_sees_no_network():
    with driver().open(answering(inspect=said(0, stdout="0 \n"))) as shell:
        assert shell.host_network_folder is None


def test_native_is_the_host_itself():
    host = answering()
    native = driver("native")
    native.check(host)
    assert native.describe(host) == {}
    with native.open(host) as shell:
        assert (shell.name, shell.address, shell.is_alive(), shell.state_report()) == (
            "h1",
            "10.0.0.1",
            True,
            "",
        )
        shell.run(["x", "true"], timeout_s=1)
    assert host.asked == [["x", "true"]]


def test_another_image_replaces_the_named_one():
    host = answering()
    with driver(image="mine:1").open(host):
        assert "mine:1" in host.asked[0]
        assert "perfctl/perf-tools:latest" not in host.asked[0]


# --- description and reaper ---------------------------------------------------------------------------------


def test_description_leaves_out_what_docker_does_not_say():
    described = Docker().description(
        '{"HostConfig":{"Runtime":"runc"}}\n{"Id":"sha256:1","RepoDigests":[],"Config":{"Labels":null}}\n', ""
    )
    assert described["image.id"] == "sha256:1"
    assert described["engine.runtime"] == "runc"
    assert described["image.repo_digests"] == described["image.labels"] == described["engine.version"] == ""


def test_describing_makes_no_running_container_and_leaves_none():
    host = answering()
    driver().describe(host)
    assert host.verbs() == ["create", "inspect", "info", "rm"]


def test_reaper_removes_what_carries_the_label():
    host = answering(ps=said(0, stdout="perfctl-1\nperfctl-2\n"))
    assert remove_all(host, RUN_ID) == ["perfctl-1", "perfctl-2"]
    assert f"label=perfctl.run={RUN_ID}" in host.asked[0]
    assert host.asked[1] == ["docker", "rm", "-f", "-v", "perfctl-1", "perfctl-2"]


def test_runs_with_containers_are_found_but_not_what_is_being_made():
    ages = {
        "old": "3 weeks ago",
        "some": "2 minutes ago",
        "new": "About a minute ago",
        "now": "5 seconds ago",
    }
    host = answering(ps=said(0, stdout="".join(f"{run} {age}\n" for run, age in ages.items())))
    assert runs_with_containers(host) == {"old", "some"}
    assert "label=perfctl.run" in host.asked[0]
    assert runs_with_containers(answering(ps=said(127, stderr="docker: not found"))) == set()


def test_reaper_on_a_host_without_containers_removes_nothing():
    host = answering()
    assert remove_all(host, RUN_ID) == []
    assert host.verbs()[0] == "ps"
    assert "rm" not in host.verbs()


@pytest.mark.parametrize(
    "listed",
    [
        said(127, stderr="docker: not found"),
        said(1, stderr="Cannot connect to the Docker daemon at unix:///var/run/docker.sock."),
    ],
)
def test_reaper_on_a_host_without_an_engine_finds_nothing(listed):
    assert remove_all(answering(ps=listed), RUN_ID) == []


def test_reaper_that_cannot_list_says_so():
    with pytest.raises(CommandFailed, match="cannot list"):
        remove_all(answering(ps=said(1, stderr="permission denied")), RUN_ID)
