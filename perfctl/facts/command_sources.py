"""The ways in which a fact is read from commands and programs."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from perfctl.facts import parsers
from perfctl.facts.raw import RawFacts, state_of_message
from perfctl.facts.request import Command, Request
from perfctl.facts.sources import MISSING, Found, present
from perfctl.model import FactState


def _whole_output(text: str) -> str:
    return text


@dataclass(frozen=True, slots=True)
class CommandOutput:
    """What a command prints; `parse` makes the fact's text of it."""

    words: str
    parse: Callable[[str], str | None] = _whole_output
    what: str = ""
    any_exit_code: bool = False
    """For those that answer "no" with exit code 1: a text counts whatever the code."""

    @property
    def how(self) -> str:
        """The command, or what it is asked for."""
        return self.what or self.words

    @property
    def request(self) -> Request:
        """The command."""
        return Request(commands=(Command(self.words, tuple(self.words.split())),))

    def find(self, raw: RawFacts) -> Found:
        """Return its output, or what its end says about the fact."""
        output = raw.output(self.words)
        if output.state is FactState.PRESENT or (self.any_exit_code and output.text):
            return present(self.parse(output.text))
        return output.state, ""


@dataclass(frozen=True, slots=True)
class KernelLog:
    """The last lines of the kernel's log."""

    how: str = "the last 5 lines of dmesg"

    @property
    def request(self) -> Request:
        """The end of what dmesg prints."""
        return Request(commands=(Command("dmesg", ("dmesg",), last_bytes=1 << 14),))

    def find(self, raw: RawFacts) -> Found:
        """Return the lines; without any, what its message says."""
        text = parsers.log_tail(raw.output("dmesg").either_text)
        if not text or text.startswith("dmesg:"):
            return state_of_message(text), ""
        return FactState.PRESENT, text


@dataclass(frozen=True, slots=True)
class EachLink:
    """`ethtool FLAG` of every interface; only of those with hardware unless `has_software`."""

    flag: str
    has_software: bool = False

    @property
    def how(self) -> str:
        """The command."""
        return f"ethtool {self.flag} of each NIC"

    @property
    def request(self) -> Request:
        """The command, for each interface but virtual ends, bridges and the loopback."""
        net = "/sys/class/net"
        which = "mtu" if self.has_software else "device"
        left_out = (f"{net}/lo/mtu", f"{net}/veth*/mtu", f"{net}/*/bridge")
        argv = ("ethtool", self.flag, "{}")
        command = Command(f"ethtool {self.flag}", argv, each=f"{net}/*/{which}", but_not=left_out)
        return Request(commands=(command,))

    def find(self, raw: RawFacts) -> Found:
        """Return the outputs one after the other, each under its interface."""
        start = f"ethtool {self.flag} "
        texts, state = [], FactState.MISSING
        for key, output in sorted(raw.outputs.items()):
            if not key.startswith(start):
                continue
            if output.state is FactState.PRESENT:
                texts.append(f"{key.removeprefix(start)}:\n{output.text}")
            elif output.state is FactState.DENIED:
                state = FactState.DENIED
        return (FactState.PRESENT, "\n".join(texts)) if texts else (state, "")


@dataclass(frozen=True, slots=True)
class Libc:
    """The C library's version."""

    how: str = "getconf GNU_LIBC_VERSION or ldd --version"

    @property
    def request(self) -> Request:
        """The command that glibc brings, and musl's."""
        ldd = Command("ldd --version", ("ldd", "--version"))
        return Request(
            commands=(Command("getconf GNU_LIBC_VERSION", ("getconf", "GNU_LIBC_VERSION"), instead=ldd),)
        )

    def find(self, raw: RawFacts) -> Found:
        """Return the version. musl's ldd prints it on stderr, and exits 1."""
        output = raw.output("getconf GNU_LIBC_VERSION")
        if output.state is FactState.PRESENT and output.text:
            return FactState.PRESENT, output.text
        other = raw.output("ldd --version")
        return (other.state, "") if other.exit_code is None else present(parsers.musl_version(other.all_text))


_DESCRIBE_PYTHON = Path(__file__).with_name("describe_python.py").read_text()


@dataclass(frozen=True, slots=True)
class Python:
    """One line of what the python3 on the path prints about itself."""

    line: int
    how: str

    @property
    def request(self) -> Request:
        """The program that prints it."""
        return Request(commands=(Command("python3", ("python3", "-c", _DESCRIBE_PYTHON)),))

    def find(self, raw: RawFacts) -> Found:
        """Return the line."""
        output = raw.output("python3")
        if output.state is FactState.PRESENT:
            return FactState.PRESENT, parsers.Line(self.line)(output.text)
        return output.state, ""


# ---- what the caller names -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProgramPath:
    """Where a benchmark's program is found."""

    program: str
    how: str = "the PATH of benchmarks"

    @property
    def request(self) -> Request:
        """The program."""
        return Request(programs=(self.program,))

    def find(self, raw: RawFacts) -> Found:
        """Return its path."""
        program = raw.programs.get(self.program)
        return present(program.path if program else None)


@dataclass(frozen=True, slots=True)
class ProgramDigest:
    """The sha256 of a benchmark's program."""

    program: str
    how: str = "sha256 of the program"

    @property
    def request(self) -> Request:
        """The program."""
        return Request(programs=(self.program,))

    def find(self, raw: RawFacts) -> Found:
        """Return the digest, or why there is none."""
        program = raw.programs.get(self.program)
        if program is None or program.path is None:
            return MISSING
        return present(program.sha256) if program.sha256 else (program.state, "")


_RUNNING_KERNEL = re.compile(r"\bLinux [^\n)]+")
"""Some programs (iperf3, stress-ng) tell beside their version on which kernel they run."""


@dataclass(frozen=True, slots=True)
class ProgramVersion:
    """What a program's version command prints, on whichever stream."""

    argv: tuple[str, ...]
    how: str = "the version command"

    @property
    def request(self) -> Request:
        """The command, by the path of the program."""
        command = Command(self._key, self.argv, is_located=True)
        return Request(programs=(self.argv[0],), commands=(command,))

    def find(self, raw: RawFacts) -> Found:
        """Return stdout, or stderr where that is empty: the loader's warnings go there, too."""
        output = raw.output(self._key)
        if output.exit_code == 0:
            return FactState.PRESENT, _RUNNING_KERNEL.sub("Linux", output.either_text)
        if output.has_run:
            return state_of_message(output.all_text), ""
        program = raw.programs.get(self.argv[0])
        return MISSING if program is None or program.path is None else (output.state, "")

    @property
    def _key(self) -> str:
        return f"version of {self.argv[0]}"
