"""Read facts on a host: `host_reader.py` is sent there with the request, and its answer unpacked.

It also reads the files of a container on that host.
"""

from __future__ import annotations

import json
import os
import shlex
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perfctl.errors import OutputError
from perfctl.facts.raw import RawFacts, RawFile, RawOutput, RawProgram, text_of
from perfctl.facts.request import Request
from perfctl.model import FactState
from perfctl.shell import Completed, Shell

_PROGRAM = Path(__file__).with_name("host_reader.py").read_bytes()
_MOST_BYTES = 1 << 28
_NOT_FOUND = (126, 127)
_DENIED = ("EACCES", "EPERM", "EFBIG")
_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)


class NotEntered(OutputError):
    """The host's user may not read a container's files, or its first process is not found there."""


@dataclass(frozen=True, slots=True)
class ContainerOnHost:
    """Where the host finds a container: by its id, which is in the names of its control groups."""

    host: Shell
    container_id: str
    python: str = "python3"
    """The host's interpreter."""


def read_raw(shell: Shell, request: Request, *, python: str, timeout_s: float) -> RawFacts:
    """Return what is on the host; `python` is its interpreter.

    Raises OutputError, CommandTimeout, and what the shell raises.
    """
    # Neither the user's packages nor the folder it runs in have a say: -I; no others are looked for: -S.
    argv = [*shlex.split(python), "-I", "-S", "-", request.to_json()]
    return parse_answer(shell.run(argv, timeout_s=timeout_s, stdin=_PROGRAM), request)


def read_container(container: ContainerOnHost, request: Request, *, timeout_s: float) -> RawFacts:
    """Return what is in a container, read by its host without a program of the container's.

    Commands of the request are left out. Raises NotEntered, and like `read_raw`.
    """
    asked = request.files_alone
    argv = [*shlex.split(container.python), "-I", "-S", "-", asked.to_json(), container.container_id]
    return parse_answer(container.host.run(argv, timeout_s=timeout_s, stdin=_PROGRAM), asked)


def parse_answer(done: Completed, request: Request) -> RawFacts:
    """Return what `host_reader.py` printed for a request.

    Raises NotEntered where the reading of files did not begin, OutputError when the answer is cut short,
    damaged, or mixed with other output: facts that were not read must not pass for facts that are missing.
    """
    if done.exit_code in _NOT_FOUND:
        raise OutputError(
            f"facts need Python: {done.error_text}",
            hint="name an interpreter of the host in the inventory: ansible_python_interpreter",
        )
    try:
        index, contents = unpack(done.stdout)
        if index.get("has_begun") is False:
            raise NotEntered("the files were not read")
        raw = _raw(index, contents)
        _check(raw, request)
        return raw
    except (*_DAMAGE, zlib.error, struct.error) as error:
        reason = done.error_text[-200:] or f"{type(error).__name__}: {error}"
        raise OutputError(f"the facts are damaged: {reason}") from error


def unpack(packed: bytes) -> tuple[Mapping[str, Any], bytes]:
    """Return index and contents of an answer.

    Raises ValueError, struct.error and zlib.error for what is none, and for more than 256 MiB.
    """
    unpacker = zlib.decompressobj()
    whole = unpacker.decompress(packed, _MOST_BYTES)
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("it is cut short, or something follows")
    (length,) = struct.unpack_from(">I", whole)
    index = json.loads(whole[4 : 4 + length])
    return index, whole[4 + length :]


class _Contents:
    """The contents one after the other, by the lengths that the index has."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def take(self, length: int) -> bytes:
        """Return the next one. Raises ValueError where there is none of that length."""
        end = self._at + length
        if length < 0 or end > len(self._content):
            raise ValueError("a content is cut short")
        found = self._content[self._at : end]
        self._at = end
        return found

    @property
    def is_at_end(self) -> bool:
        """Whether all were taken."""
        return self._at == len(self._content)


def _raw(index: Mapping[str, Any], content: bytes) -> RawFacts:
    contents = _Contents(content)
    files = {
        str(pattern): tuple(_file(item, contents) for item in found) for pattern, found in index["files"]
    }
    outputs = {
        str(key): RawOutput(
            None if code is None else int(code), contents.take(int(out)), contents.take(int(err))
        )
        for key, code, out, err in index["outputs"]
    }
    if not contents.is_at_end:
        raise ValueError("there are more contents than the index has")
    return RawFacts(
        files=files,
        there=frozenset(map(str, index["there"])),
        variables={str(name): _text(value) for name, value in dict(index["variables"]).items()},
        outputs=outputs,
        programs=dict(_programs(index["programs"])),
        unread=FactState.MISSING if index["is_whole"] is True else FactState.DENIED,
    )


def _check(raw: RawFacts, request: Request) -> None:
    """Raise ValueError when something that was asked for is not in an answer."""
    left_out = {command.key for command in request.commands if command.always_runs} - raw.outputs.keys()
    if raw.unread is FactState.MISSING:
        left_out |= {*request.files} - raw.files.keys()
    if left_out:
        raise ValueError(f"{min(left_out)} is not in the answer")


def _file(item: Any, contents: _Contents) -> RawFile:
    path, found = item
    if isinstance(found, str):
        return RawFile(_text(path), None, FactState.DENIED if found in _DENIED else FactState.MISSING)
    return RawFile(_text(path), contents.take(int(found)))


def _programs(found: Any) -> Iterator[tuple[str, RawProgram]]:
    for name, (path, digest) in dict(found).items():
        yield (
            str(name),
            RawProgram(None if path is None else _text(path), None if digest is None else str(digest)),
        )


def _text(value: Any) -> str:
    # Bytes that are no UTF-8 came as halves of characters.
    return text_of(os.fsencode(str(value)))
