"""Variables and runtimes of environments: how commands get them, and what cannot be one."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace

import pytest

from perfctl.environments import environment
from perfctl.environments.container import Docker
from perfctl.environments.drivers import driver_for
from perfctl.environments.variables import check_variable, with_variables
from perfctl.environments.vm import VmDriver
from perfctl.errors import CommandTimeout, EnvironmentNotMade
from perfctl.model import Environment
from tests.unit.test_environments import INVOCATION_ID, RUN_ID, ScriptedHost, answering, said
from tests.unit.vm_host import ScriptedHost as VmHost
from tests.unit.vm_host import inside

ENV = (("GLIBC_TUNABLES", "glibc.malloc.arena_max=1"), ("OMP_NUM_THREADS", "2"))
WORDS = ["GLIBC_TUNABLES=glibc.malloc.arena_max=1", "OMP_NUM_THREADS=2"]


def driver(each: Environment):
    return driver_for(each, run_id=RUN_ID, invocation_id=INVOCATION_ID, host_address="192.0.2.1")


def test_without_variables_a_command_stays_as_it_is() -> None:
    assert with_variables(environment("native"), ["true"]) == ["true"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("1ST", "x", "letters, digits"),
        ("A-B", "x", "letters, digits"),
        ("", "x", "letters, digits"),
        ("Ä", "x", "letters, digits"),
        ("PERFCTL_COMMAND", "x", "perfctl's own"),
        ("A", "x\0y", "NUL"),
    ],
)
def test_what_cannot_be_a_variable(name: str, value: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_variable(name, value)


@pytest.mark.parametrize("value", ["", "a b", "a\nb", "ü", "'\"$x"])
def test_any_text_is_a_value(value: str) -> None:
    check_variable("_a1", value)


# ---- natively ---------------------------------------------------------------------------------------------


def test_natively_they_stand_in_front_of_the_command() -> None:
    host = ScriptedHost(lambda argv: said(3, "out"))
    with driver(replace(environment("native"), env=ENV)).open(host) as shell:
        done = shell.run(["sysbench", "run"], timeout_s=5)
        assert shell.name == "h1/native"
    assert host.asked == [["env", *WORDS, "sysbench", "run"]]
    assert (done.argv, done.exit_code) == (("sysbench", "run"), 3)


def test_natively_they_are_the_commands_and_not_those_of_what_binds_it() -> None:
    seen = "cpus=0\nonline=2\n"
    host = ScriptedHost(lambda argv: said(0, seen))
    with driver(replace(environment("native"), env=ENV, cpuset_cpus="0")).open(host) as shell:
        shell.run(["true"], timeout_s=5)
    assert host.asked[-1] == ["taskset", "-c", "0", "env", *WORDS, "true"]


def test_a_native_timeout_names_the_command() -> None:
    late = ScriptedHost(lambda argv: CommandTimeout("env did not end"))
    with (
        driver(replace(environment("native"), env=ENV)).open(late) as shell,
        pytest.raises(CommandTimeout, match="sleep did not end within 5 s") as caught,
    ):
        shell.run(["sleep", "9"], timeout_s=5)
    assert caught.value.where == "h1/native"


def test_native_without_variables_is_the_hosts_own_shell() -> None:
    host = ScriptedHost(lambda argv: said())
    with driver(environment("native")).open(host) as shell:
        shell.run(["true"], timeout_s=5)
        assert shell.name == "h1"
    assert host.asked == [["true"]]


# ---- containers -------------------------------------------------------------------------------------------


def test_a_container_is_made_with_them_and_its_commands_have_them_from_it() -> None:
    each = replace(environment("container"), env=ENV)
    for argv in (Docker().run_argv(each, "c", {}), Docker().create_argv(each, "c", {})):
        given = [argv[place + 1] for place, word in enumerate(argv) if word == "--env"]
        assert given == WORDS
    assert "--env" not in Docker().exec_argv("c", ["true"])


def test_a_runtime_is_an_option_of_the_engine() -> None:
    each = replace(environment("container"), runtime="runsc")
    argv = Docker().probe_argv(each, "c", {})
    assert argv[argv.index("--runtime") + 1] == "runsc"
    assert "--runtime" not in Docker().run_argv(environment("container"), "c", {})


@pytest.mark.parametrize(
    "words",
    [
        "docker: Error response from daemon: unknown or invalid runtime name: runsc\n",
        "docker: Error response from daemon: Unknown runtime specified runsc.\nSee 'docker run --help'.\n",
    ],
)
def test_a_container_of_an_unknown_runtime_is_not_made_and_the_engine_lists_those_that_it_has(
    words: str,
) -> None:
    info = json.dumps({"Runtimes": {"runc": {"path": "runc"}, "io.containerd.runc.v2": {}}})
    host = answering(run=said(125, stderr=words), info=said(stdout=info), rm=said())
    with (
        pytest.raises(EnvironmentNotMade) as caught,
        driver(replace(environment("container"), runtime="runsc")).open(host),
    ):
        pass
    assert caught.value.message.startswith("the engine has no runtime runsc (Error response from daemon: ")
    assert "runsc" in caught.value.message.partition("(")[2]
    assert caught.value.hint == "it has: io.containerd.runc.v2, runc"
    assert host.verbs() == ["run", "info", "rm"]


def test_an_engine_with_dockers_options_is_a_program() -> None:
    class Podman(Docker):
        program = "podman"

    each, engine = environment("container"), Podman()
    for argv in (
        *(make(each, "c", {}) for make in (engine.run_argv, engine.create_argv, engine.probe_argv)),
        engine.exec_argv("c", ["true"]),
        engine.inspect_argv("{{.Id}}", "c"),
        *(engine.logs_argv("c"), engine.remove_argv("c"), engine.list_argv("run"), engine.info_argv()),
    ):
        assert argv[0] == "podman"


# ---- guests -----------------------------------------------------------------------------------------------


def test_in_a_guest_they_stand_in_front_of_the_command() -> None:
    host = VmHost(ssh=inside())
    guest = VmDriver(replace(environment("vm"), env=ENV), run_id=RUN_ID, invocation_id=INVOCATION_ID)
    with guest.open(host) as shell:
        done = shell.run(["sysbench", "run"], timeout_s=5)
    (line,) = [argv[-1] for argv, _ in host.asked if argv[0] == "ssh"]
    assert shlex.split(line)[-5:] == ["env", *WORDS, "sysbench", "run"]
    assert done.argv == ("sysbench", "run")
