"""What a host, or the inside of an environment, answered: files and outputs as they were there, unjudged."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from perfctl.model import FactState

_COULD_NOT_START = 126
"""What shells exit with for a command that is there and cannot be run; 127 is one that is not there."""


@dataclass(frozen=True, slots=True)
class RawFile:
    """One file; `state` says why there is no content."""

    path: str
    content: bytes | None
    state: FactState = FactState.PRESENT

    @property
    def lines(self) -> list[str]:
        """The lines of its text; none of an empty file, and of one that could not be read."""
        if not self.content:
            return []
        return text_of(self.content).removesuffix("\n").split("\n")


@dataclass(frozen=True, slots=True)
class RawOutput:
    """What a command printed; `exit_code` is None where it was not run, and `unrun` says why."""

    exit_code: int | None
    stdout: bytes = b""
    stderr: bytes = b""
    unrun: FactState = FactState.MISSING

    @property
    def text(self) -> str:
        """Standard output, without the newlines at its end."""
        return without_ends(self.stdout)

    @property
    def either_text(self) -> str:
        """Standard output, or standard error where that is empty."""
        return self.text or without_ends(self.stderr)

    @property
    def all_text(self) -> str:
        """Both outputs, one after the other."""
        return "\n".join(filter(None, (self.text, without_ends(self.stderr))))

    @property
    def has_run(self) -> bool:
        """Whether it was there and ended by itself."""
        return self.exit_code is not None and self.exit_code < _COULD_NOT_START

    @property
    def state(self) -> FactState:
        """What its end says about a fact: that it was read, is missing, or is denied."""
        if self.exit_code is None:
            return self.unrun
        if self.exit_code == 0:
            return FactState.PRESENT
        return state_of_message(text_of(self.stderr)) if self.has_run else FactState.MISSING


@dataclass(frozen=True, slots=True)
class RawProgram:
    """Where a program was found (None: nowhere) and its digest; `state` says why there is none."""

    path: str | None
    sha256: str | None = None
    state: FactState = FactState.DENIED


@dataclass(frozen=True, slots=True)
class RawFacts:
    """One answer to a request."""

    files: Mapping[str, tuple[RawFile, ...]]
    """By the pattern that the request names them by."""
    there: Collection[str] = ()
    """The paths that exist, of those that the request asked only that about."""
    variables: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, RawOutput] = field(default_factory=dict)
    """By the command's key."""
    programs: Mapping[str, RawProgram] = field(default_factory=dict)
    unread: FactState = FactState.MISSING
    """The state of a file that is not among `files`; denied where the reading ended before it was whole."""
    unrun: FactState = FactState.MISSING
    """The state of a command that is not among `outputs`; denied where nothing could be run."""

    def file(self, path: str) -> RawFile:
        """Return the file of a path without wildcards."""
        return next(iter(self.matches(path)), RawFile(path, None, self.unread))

    def matches(self, pattern: str) -> tuple[RawFile, ...]:
        """Return what a pattern matched: at least one, which may be the error for the pattern itself."""
        return self.files.get(pattern) or (RawFile(pattern, None, self.unread),)

    def output(self, key: str) -> RawOutput:
        """Return a command's output."""
        return self.outputs.get(key) or RawOutput(None, unrun=self.unrun)


def text_of(content: bytes) -> str:
    """Return bytes as text; those that are no UTF-8 are kept visible as escapes."""
    return content.decode("utf-8", "backslashreplace")


def without_ends(content: bytes) -> str:
    """Return an output's text as a shell's variable has it: no newlines at its end, no bytes 0."""
    return text_of(content.replace(b"\0", b"")).rstrip("\n")


def state_of_message(message: str) -> FactState:
    """Return what an error message says about a fact."""
    refused = ("ermission denied", "not permitted")
    return FactState.DENIED if any(words in message for words in refused) else FactState.MISSING
