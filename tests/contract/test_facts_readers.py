"""What reads facts on a host and inside an environment, over real and made-up files and commands."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from perfctl.errors import OutputError
from perfctl.facts import REGISTRY, host_reader, on_host, read_host, read_inside
from perfctl.facts.raw import RawFacts
from perfctl.facts.request import Command, Request
from perfctl.model import FactState, Fingerprint
from perfctl.shell import Completed
from perfctl.shell.local import LocalShell
from tests.processes import unique_seconds, wait_until, with_argument

SHELLS = [found for found in map(shutil.which, ("dash", "bash", "busybox")) if found]
ALL_ROWS = {spec.name for spec in REGISTRY}
INSIDE_ROWS = {spec.name for spec in REGISTRY if spec.inside}
PATH = os.environ["PATH"]


class Here(LocalShell):
    """This machine, with nothing in the environment but what is given."""

    def __init__(self, variables: Mapping[str, str], shell: str = "/bin/sh") -> None:
        super().__init__()
        self._variables = variables
        self._shell = shell

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        """Run the command, `sh` being the given one."""
        words = list(argv)
        if words[0] == "sh":
            words[:1] = [self._shell, "sh"] if self._shell.endswith("busybox") else [self._shell]
        done = subprocess.run(
            words, env=self._variables, input=stdin, capture_output=True, timeout=timeout_s, check=False
        )
        return Completed(tuple(argv), done.returncode, done.stdout, done.stderr)


Reader = Callable[..., Fingerprint]


def host(variables: Mapping[str, str] | None = None, **asked: Sequence[object]) -> Fingerprint:
    """Read this machine as a host."""
    shell = Here({"PATH": PATH, **(variables or {})})
    return read_host(shell, python=sys.executable, **asked)  # type: ignore[arg-type]


def environment(
    variables: Mapping[str, str] | None = None, *, shell: str = "/bin/sh", **asked: Sequence[object]
) -> Fingerprint:
    """Read this machine as the inside of an environment."""
    return read_inside(Here({"PATH": PATH, **(variables or {})}, shell), **asked)  # type: ignore[arg-type]


BOTH = pytest.mark.parametrize("read", [host, environment])


def names(facts: Fingerprint) -> set[str]:
    return {fact.name for fact in facts.facts}


def state(facts: Fingerprint, name: str) -> FactState:
    fact = facts.get(name)
    assert fact is not None, name
    return fact.state


def value(facts: Fingerprint, name: str) -> str:
    fact = facts.get(name)
    assert fact is not None, name
    assert fact.state is FactState.PRESENT, name
    return fact.value


def program(folder: Path, name: str, script: str) -> None:
    """Put a program of our own on the path."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def in_front(folder: Path) -> dict[str, str]:
    return {"PATH": f"{folder}:{PATH}"}


# --- every row, once ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", SHELLS)
def test_every_row_is_read_by_every_shell(shell):
    # Some shells of busybox have programs such as grep in themselves.
    version = [["getconf", "--version"]]
    facts = environment(shell=shell, programs=["sh"], version_argvs=version)
    assert names(facts) == INSIDE_ROWS | {"tool.sh.path", "tool.sh.sha256", "tool.getconf.version"}
    expected = environment(programs=["sh"], version_argvs=version)
    assert {fact for fact in facts.facts if fact.is_static} == {
        fact for fact in expected.facts if fact.is_static
    }


def test_programs_and_peers_have_their_rows():
    facts = host(
        programs=["sh", "/bin/cat"], version_argvs=[["grep", "--version"]], peers=["127.0.0.1", "no-such.x"]
    )
    assert names(facts) - ALL_ROWS == {
        *("tool.sh.path", "tool.sh.sha256", "tool.cat.path", "tool.cat.sha256"),
        *("tool.grep.version", "net.route.127.0.0.1", "net.route.no-such.x"),
    }
    assert "GNU grep" in value(facts, "tool.grep.version")
    assert value(facts, "tool.cat.path") == "/bin/cat"


def test_what_is_read_on_a_host_and_inside_it_is_the_same():
    on_it, inside_it = host(programs=["sh"]), environment(programs=["sh"])
    for fact in inside_it.facts:
        # The process that reads may have another OOM score, not other limits.
        assert not fact.is_static or on_it.get(fact.name) == fact


@pytest.mark.parametrize("tools", [(), ("cat",), ("grep",), ("grep", "sha256sum", "timeout", "true")])
def test_every_row_is_read_where_there_is_next_to_nothing(tmp_path, tools):
    for tool in tools:
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    for read in (host, environment):
        facts = read(
            {"PATH": str(tmp_path)}, programs=["sysbench"], version_argvs=[["sysbench", "--version"]]
        )
        added = {"tool.sysbench.path", "tool.sysbench.sha256", "tool.sysbench.version"}
        assert names(facts) == (ALL_ROWS if read is host else INSIDE_ROWS) | added
        assert {state(facts, name) for name in added} == {FactState.MISSING}
        assert state(facts, "python.version") is FactState.MISSING
    has_reader = "grep" in tools
    expected = FactState.PRESENT if has_reader else FactState.DENIED
    assert state(environment({"PATH": str(tmp_path)}), "kernel.release") is expected
    assert state(host({"PATH": str(tmp_path)}), "kernel.release") is FactState.PRESENT


@BOTH
def test_files_are_read_as_they_are(read: Reader):
    facts = read()
    assert value(facts, "kernel.release") == os.uname().release
    # The kernel gives this file whole or not at all: reading it byte by byte yields one digit.
    assert value(facts, "net.tcp_rmem") == Path("/proc/sys/net/ipv4/tcp_rmem").read_text().rstrip("\n")
    assert value(facts, "memory.total") in Path("/proc/meminfo").read_text()
    assert value(facts, "os.release") == Path("/etc/os-release").read_text().rstrip("\n")
    assert value(facts, "cpu.online") == Path("/sys/devices/system/cpu/online").read_text().rstrip("\n")


# --- the environment ----------------------------------------------------------------------------------------


@BOTH
def test_an_unset_variable_is_missing_and_an_empty_one_is_present(read: Reader):
    # The odd value is for jemalloc: newer glibc warns on stderr of an odd value of its own.
    facts = read({"MALLOC_ARENA_MAX": "", "MALLOC_CONF": "2 'x'\n=y\n"})
    assert state(facts, "env.PYTHONHASHSEED") is FactState.MISSING
    assert value(facts, "env.MALLOC_ARENA_MAX") == ""
    assert value(facts, "env.MALLOC_CONF") == "2 'x'\n=y\n"


@BOTH
def test_only_named_variables_are_read(read: Reader):
    secret = "correct-horse-battery-staple"
    facts = read({"AWS_SECRET_ACCESS_KEY": secret, "PYTHONSTARTUP_TOKEN": secret})
    assert not any(secret in fact.value for fact in facts.facts)


# --- commands -----------------------------------------------------------------------------------------------


def test_a_command_that_is_refused_is_denied_and_one_that_fails_is_missing(tmp_path):
    program(tmp_path, "ip", "echo half; echo 'RTNETLINK answers: Operation not permitted' >&2; exit 2")
    program(tmp_path, "tc", "echo 'Cannot open file: Permission denied' >&2; exit 1")
    program(tmp_path, "df", "echo 'no such option' >&2; exit 1")
    facts = host(in_front(tmp_path))
    assert state(facts, "net.ip_link") is FactState.DENIED
    assert state(facts, "net.qdisc") is FactState.DENIED
    assert state(facts, "storage.free") is FactState.MISSING


FRAME = "\nperfctl-0 end\n=storage.free missing\n#end\n\n ends in blank "


def test_no_output_breaks_the_frame(tmp_path):
    (tmp_path / "text").write_text(FRAME)
    for name in ("df", "bench"):
        program(tmp_path, name, f"cat {tmp_path}/text; cat {tmp_path}/text >&2")
    assert value(host(in_front(tmp_path)), "storage.free") == FRAME
    facts = environment(in_front(tmp_path), version_argvs=[["bench"]])
    assert value(facts, "tool.bench.version") == FRAME
    assert names(facts) == INSIDE_ROWS | {"tool.bench.version"}


@BOTH
def test_long_output_arrives_whole(tmp_path, read: Reader):
    program(tmp_path, "bench", "seq 20000; seq 20000 >&2; echo; echo end")
    lines = value(read(in_front(tmp_path), version_argvs=[["bench"]]), "tool.bench.version").split("\n")
    assert lines == [*map(str, range(1, 20001)), "", "end"]


@BOTH
def test_a_command_finds_nothing_on_its_stdin(tmp_path, read: Reader):
    program(tmp_path, "bench", "cat; echo all")
    assert value(read(in_front(tmp_path), version_argvs=[["bench"]]), "tool.bench.version") == "all"


@BOTH
def test_a_command_that_hangs_is_ended_and_the_rest_is_read(tmp_path, read: Reader):
    seconds, others = unique_seconds(), unique_seconds()
    program(tmp_path, "bench", f"exec sleep {seconds}")
    # What a command has started hangs as well.
    program(tmp_path, "python3", f"sleep {others}; exit 0")
    facts = read(in_front(tmp_path), programs=["cat"], version_argvs=[["bench"]])
    assert state(facts, "tool.bench.version") is FactState.MISSING
    assert state(facts, "python.version") is FactState.MISSING
    assert state(facts, "tool.cat.sha256") is FactState.PRESENT
    assert state(facts, "kernel.release") is state(facts, "libc.version") is FactState.PRESENT
    wait_until(lambda: not with_argument(seconds) + with_argument(others), "the commands to be gone")


def test_what_a_command_leaves_behind_is_not_waited_for(tmp_path):
    seconds = unique_seconds()
    program(tmp_path, "df", f"echo size; sleep {seconds} &")
    assert value(host(in_front(tmp_path)), "storage.free") == "size"
    wait_until(lambda: not with_argument(seconds), "what it has left to be gone")


def test_a_command_that_closes_its_outputs_and_goes_on_is_ended(tmp_path):
    seconds = unique_seconds()
    program(tmp_path, "df", f"echo size; exec >&- 2>&- sleep {seconds}")
    program(tmp_path, "tc", "echo qdisc; exec >&- 2>&-; exit 3")
    facts = host(in_front(tmp_path))
    assert state(facts, "storage.free") is state(facts, "net.qdisc") is FactState.MISSING
    assert not with_argument(seconds)


def test_a_command_that_prints_without_end_is_ended(tmp_path):
    program(tmp_path, "df", "exec yes")
    program(tmp_path, "dmesg", "seq 1000000")
    facts = host(in_front(tmp_path))
    assert state(facts, "storage.free") is FactState.MISSING
    assert value(facts, "kernel.dmesg_tail").split("\n") == [*map(str, range(999_996, 1_000_001))]


@BOTH
def test_what_is_slow_is_waited_for(tmp_path, read: Reader):
    slow = [f"slow{number}" for number in range(5)]
    for name in slow:
        program(tmp_path, name, "sleep 1.5; echo 1.0")
    facts = read(in_front(tmp_path), version_argvs=[[name] for name in slow])
    assert [value(facts, f"tool.{name}.version") for name in slow] == ["1.0"] * 5


@BOTH
def test_a_version_is_read_from_either_stream(tmp_path, read: Reader):
    program(tmp_path, "bench", 'echo "bench 1.2 $1" >&2')
    facts = read(in_front(tmp_path), programs=["bench"], version_argvs=[["bench", "-V"]])
    assert value(facts, "tool.bench.version") == "bench 1.2 -V"
    assert value(facts, "tool.bench.path") == f"{tmp_path}/bench"


@BOTH
def test_a_warning_on_stderr_is_no_part_of_a_version(tmp_path, read: Reader):
    program(tmp_path, "bench", 'echo "WARNING: ld.so: invalid GLIBC_TUNABLES" >&2; echo "bench 1.2"')
    facts = read(in_front(tmp_path), version_argvs=[["bench", "-V"]])
    assert value(facts, "tool.bench.version") == "bench 1.2"


@BOTH
def test_the_digest_is_that_of_the_file_on_the_path(tmp_path, read: Reader):
    program(tmp_path, "bench", "exit 0")
    facts = read(in_front(tmp_path), programs=["bench", "absent", f"{tmp_path}/bench2"])
    known = subprocess.run(["sha256sum", tmp_path / "bench"], capture_output=True, text=True, check=True)
    assert value(facts, "tool.bench.sha256") == known.stdout.split()[0]
    assert state(facts, "tool.absent.sha256") is state(facts, "tool.bench2.path") is FactState.MISSING


@BOTH
def test_musl_is_known_by_its_loader(tmp_path, read: Reader):
    program(tmp_path, "getconf", "exit 1")
    program(
        tmp_path, "ldd", "printf 'musl libc (x86_64)\\nVersion 1.2.4\\nDynamic Program Loader\\n' >&2; exit 1"
    )
    assert value(read(in_front(tmp_path)), "libc.version") == "musl libc (x86_64)\nVersion 1.2.4"


@BOTH
def test_python_says_what_it_is(tmp_path, read: Reader):
    program(tmp_path, "python3", f'exec {sys.executable} "$@"')
    facts = read(in_front(tmp_path))
    assert value(facts, "python.version") == " ".join(sys.version.split())
    assert "WITH_PYMALLOC" in value(facts, "python.build")
    assert f"click=={importlib.metadata.version('click')}" in value(facts, "python.packages")


# --- the reader of hosts ------------------------------------------------------------------------------------


def read_here(request: Request, *, instead: Mapping[bytes, bytes] | None = None) -> RawFacts:
    """Read on this machine, with some of the program's text replaced."""
    text = (Path(on_host.__file__).parent / "host_reader.py").read_bytes()
    for old, new in (instead or {}).items():
        assert old in text
        text = text.replace(old, new)
    argv = [sys.executable, "-I", "-S", "-", request.to_json()]
    return on_host.parse_answer(LocalShell().run(argv, timeout_s=60, stdin=text), request)


def test_each_match_has_its_command_but_those_left_out(tmp_path):
    for name in ("eth0", "eth1", "lo", "veth1", "br0"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mtu").touch()
    (tmp_path / "br0" / "bridge").mkdir()
    left_out = (f"{tmp_path}/lo/mtu", f"{tmp_path}/veth*/mtu", f"{tmp_path}/*/bridge")
    command = Command("say", ("echo", "hello {}"), each=f"{tmp_path}/*/mtu", but_not=left_out)
    raw = read_here(Request(commands=(command,)))
    assert {key: output.text for key, output in raw.outputs.items()} == {
        "say eth0": "hello eth0",
        "say eth1": "hello eth1",
    }


def test_what_can_be_read_is_read_and_the_rest_says_why(tmp_path):
    (tmp_path / "a1").write_bytes(b"\0\xff\n")
    (tmp_path / "a2").mkdir()
    os.mkfifo(tmp_path / "a3")
    (tmp_path / "a4").symlink_to("nowhere")
    (tmp_path / "a\n5").touch()
    raw = read_here(
        Request(files=(f"{tmp_path}/a*", f"{tmp_path}/b*", f"{tmp_path}/c"), listed=(f"{tmp_path}/*",))
    )
    read = {Path(file.path).name: file.content for file in raw.matches(f"{tmp_path}/a*")}
    assert (read["a1"], read["a2"], read["a3"], read["a4"]) == (b"\0\xff\n", None, b"", None)
    assert [file.state for file in raw.matches(f"{tmp_path}/b*")] == [FactState.MISSING]
    assert raw.file(f"{tmp_path}/c").state is FactState.MISSING
    assert raw.unread is FactState.MISSING, "all was read"
    assert {Path(path).name for path in raw.there} == {"a1", "a2", "a3", "a4"}


def test_a_file_that_is_too_long_could_not_be_read(tmp_path):
    (tmp_path / "long").write_bytes(b"x" * 5000)
    path = f"{tmp_path}/long"
    raw = read_here(Request(files=(path,)), instead={b"_MOST_BYTES = 16 << 20": b"_MOST_BYTES = 4096"})
    assert raw.file(path).state is FactState.DENIED


def test_a_file_that_hangs_is_given_up_and_the_rest_may_be_there(tmp_path):
    paths = tuple(f"{tmp_path}/{name}" for name in ("first", "hangs", "last"))
    for path in paths:
        Path(path).write_text("text\n")
    hang = b'if path.endswith("hangs"):\n        time.sleep(3600)\n    content = b""'
    raw = read_here(
        Request(files=paths, commands=(Command("say", ("echo", "hello")),)),
        instead={b'content = b""': hang, b"_COMMAND_S = 4.0": b"_COMMAND_S = 0.5"},
    )
    assert raw.file(paths[0]).content == b"text\n"
    assert [raw.file(path).state for path in paths[1:]] == [FactState.DENIED] * 2
    assert raw.output("say").text == "hello"


def test_a_device_in_the_place_of_a_container_s_file_is_not_touched():
    # It would be the host's own.
    inside = object.__new__(host_reader.Inside)
    inside.folder = os.open("/proc/self", os.O_RDONLY)
    try:
        assert inside.read("/dev/zero") == (None, "EINVAL")
        assert inside.read("/dev") == (None, "EINVAL")
        assert inside.read("/no/such/file") == (None, "ENOENT")
        assert inside.read("/proc/self/comm")[0] == Path("/proc/self/comm").read_bytes()
    finally:
        os.close(inside.folder)


def test_the_kernels_release_has_its_place_in_a_path(tmp_path):
    (tmp_path / f"config-{os.uname().release}").write_text("CONFIG_HZ=250\n")
    pattern = f"{tmp_path}/config-{{release}}"
    assert read_here(Request(files=(pattern,))).file(pattern).content == b"CONFIG_HZ=250\n"


@pytest.mark.parametrize("python", ["no-such-python", "sh -c 'echo Welcome; exec \"$@\"' sh"])
def test_an_interpreter_that_is_none_is_an_error(python):
    with pytest.raises(OutputError):
        read_host(LocalShell(), python=python)
