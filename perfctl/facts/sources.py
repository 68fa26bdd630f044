"""The ways in which a fact is read from files: what each asks for, and what it makes of the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from perfctl.facts import parsers
from perfctl.facts.raw import RawFacts, RawFile
from perfctl.facts.request import Request
from perfctl.model import FactState

Found = tuple[FactState, str]
"""The state of a fact, and its text where it is present."""
MISSING: Found = (FactState.MISSING, "")
_CGROUPS = "/sys/fs/cgroup"
_OWN_CGROUP = "/proc/self/cgroup"
_VERSION_2 = f"{_CGROUPS}/cgroup.controllers"


class Source(Protocol):
    """Where a fact comes from."""

    @property
    def how(self) -> str:
        """How it is read, in a few words for the documentation."""
        ...

    @property
    def request(self) -> Request:
        """What it needs."""
        ...

    def find(self, raw: RawFacts) -> Found:
        """Return the fact in what was read."""
        ...


def present(text: str | None) -> Found:
    """Return a fact that has this text, or is missing."""
    return MISSING if text is None else (FactState.PRESENT, text)


@dataclass(frozen=True, slots=True)
class File:
    """One file; `parse` makes the fact's text of its lines, or None where it is not in there."""

    path: str
    parse: Callable[[Sequence[str]], str | None] = parsers.whole
    what: str = ""

    @property
    def how(self) -> str:
        """The path, and what of it."""
        return f"{self.path}: {self.what}" if self.what else self.path

    @property
    def request(self) -> Request:
        """The file."""
        return Request(files=(self.path,))

    def find(self, raw: RawFacts) -> Found:
        """Return its text, or why there is none."""
        file = raw.file(self.path)
        return present(self.parse(file.lines)) if file.content is not None else (file.state, "")


@dataclass(frozen=True, slots=True)
class FirstFile:
    """The first of several files that can be read; `parse` gets its bytes."""

    paths: tuple[str, ...]
    parse: Callable[[bytes], str | None]
    how: str

    @property
    def request(self) -> Request:
        """All of them."""
        return Request(files=self.paths)

    def find(self, raw: RawFacts) -> Found:
        """Return the first one's text, or why the last one could not be read."""
        for path in self.paths:
            file = raw.file(path)
            if file.content is not None:
                return present(self.parse(file.content))
        return file.state, ""


@dataclass(frozen=True, slots=True)
class Files:
    """Everything that a pattern matches; `parse` returns None where no text is in there."""

    pattern: str
    parse: Callable[[Sequence[RawFile]], str | None]
    what: str = ""

    @property
    def how(self) -> str:
        """The pattern, and what of the files."""
        return f"{self.pattern}: {self.what}" if self.what else self.pattern

    @property
    def request(self) -> Request:
        """The pattern."""
        return Request(files=(self.pattern,))

    def find(self, raw: RawFacts) -> Found:
        """Return their text; without any, that one was refused is more than that one is missing."""
        files = raw.matches(self.pattern)
        text = self.parse(files)
        if text is not None:
            return FactState.PRESENT, text
        denied = any(file.state is FactState.DENIED for file in files)
        return (FactState.DENIED if denied else FactState.MISSING), ""


@dataclass(frozen=True, slots=True)
class Links:
    """The interfaces and what decides their speed."""

    how: str = "/sys/class/net/*, without veth*"

    @property
    def request(self) -> Request:
        """The files of each interface, and what lies over and under it."""
        names = ("mtu", "tx_queue_len", "speed", "duplex", "uevent", "device/uevent")
        return Request(
            files=tuple(f"/sys/class/net/*/{name}" for name in names),
            listed=("/sys/class/net/*/bridge", "/sys/class/net/*/brif/*", "/sys/class/net/*/lower_*"),
        )

    def find(self, raw: RawFacts) -> Found:
        """Return a line for each interface."""
        files = [file for pattern in self.request.files for file in raw.matches(pattern)]
        return present(parsers.links(files, raw.there))


@dataclass(frozen=True, slots=True)
class CgroupVersion:
    """Which version of control groups: '1', '2', or 'hybrid'."""

    how: str = "files of /sys/fs/cgroup"

    @property
    def request(self) -> Request:
        """What is there of each version."""
        return Request(
            listed=(
                _VERSION_2,
                f"{_CGROUPS}/unified/cgroup.procs",
                f"{_CGROUPS}/cpu",
                f"{_CGROUPS}/memory",
            )
        )

    def find(self, raw: RawFacts) -> Found:
        """Return the version; missing where there are no control groups."""
        is_2, is_hybrid, *is_1 = (path in raw.there for path in self.request.listed)
        if is_2 or is_hybrid:
            return FactState.PRESENT, "2" if is_2 else "hybrid"
        return present("1" if any(is_1) else None)


@dataclass(frozen=True, slots=True)
class Cgroup:
    """A file of the process's own control group, by the names of version 2 and version 1."""

    v2: str
    v1_controller: str
    v1: str

    @property
    def how(self) -> str:
        """Both names."""
        return f"own cgroup: v2 {self.v2}, v1 {self.v1_controller}/{self.v1}"

    @property
    def request(self) -> Request:
        """The file of the own group, and of the root, which is what a container sees as its own."""
        v1 = f"{self.v1_controller}/{self.v1}"
        return Request(
            files=(_OWN_CGROUP, f"{_CGROUPS}/{self.v2}", f"{_CGROUPS}/{v1}"),
            listed=(_VERSION_2,),
            cgroup_files=(f"./{self.v2}", v1),
        )

    def find(self, raw: RawFacts) -> Found:
        """Return the text of the own group's file, or of the root's where there is none."""
        if _VERSION_2 in raw.there:
            controller, name, root = ".", self.v2, f"{_CGROUPS}/{self.v2}"
        else:
            controller, name = self.v1_controller, self.v1
            root = f"{_CGROUPS}/{controller}/{name}"
        own = _own_group(raw.file(_OWN_CGROUP).lines, controller)
        paths = [f"{_CGROUPS}/{controller}{own}/{name}", root] if own else [root]
        files = [raw.file(path) for path in paths]
        readable = [file for file in files if file.content is not None]
        if readable:
            return FactState.PRESENT, parsers.whole(next((file.lines for file in readable if file.lines), []))
        denied = any(file.state is FactState.DENIED for file in files)
        return (FactState.DENIED if denied else FactState.MISSING), ""


def _own_group(lines: Iterable[str], controller: str) -> str:
    """Return the own group of a controller ('.': of version 2), '' for the root and for an unknown one."""
    for line in lines:
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if controller in (names or ".").split(","):
            return path.rstrip("/")
    return ""


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable. Only those named in the registry are ever read."""

    variable: str

    @property
    def how(self) -> str:
        """Its name."""
        return f"${self.variable}"

    @property
    def request(self) -> Request:
        """The variable."""
        return Request(variables=(self.variable,))

    def find(self, raw: RawFacts) -> Found:
        """Return its value; missing when it is not set."""
        return present(raw.variables.get(self.variable))
