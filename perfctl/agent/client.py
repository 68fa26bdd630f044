"""Start the agent of a run on a host, and talk to it over channels."""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from perfctl.agent import agent as host_agent
from perfctl.errors import CommandFailed, CommandTimeout, HostUnreachable, PerfctlError
from perfctl.shell import Stream, Transport
from perfctl.shell.session import PROGRAM

# Python 2 reads this, too: it ends with what is wrong.
_BOOT = """import os, sys
if sys.version_info < (3, 9):
    sys.exit("Python 3.9 or newer is needed, this is " + sys.version.split()[0])
source = b""
while len(source) < int(sys.argv[1]):
    piece = os.read(0, int(sys.argv[1]) - len(source))
    if not piece:
        sys.exit("the program did not arrive")
    source += piece
names = {"__name__": "agent"}
code = compile(source, "agent.py", "exec")
exec(code, names)
names["main"](sys.argv[2:], code)
"""
# By its text: to have it found by `inspect`, which reads the whole program by its tokens, takes 5 ms.
_ATTACH = PROGRAM.decode().partition("\ndef attach(")[2].partition("\n\n\n")[0]
_RELAY = f"""import os, socket, sys
def attach({_ATTACH}
attach(sys.argv[1], sys.argv[2], "{{}}")
"""
_PROBE = "import sys; print(sys.version_info >= (3, 9), sys.version.split()[0])"
_START_S = 60.0
_ANSWER_S = 30.0
_TRANSFER_S = 600.0
_LARGEST_PART_BYTES = 1 << 40
_PIECE_BYTES = 256 << 10
_RELEASE = host_agent.pack({"verb": "release"})
_NO_PYTHON = "install Python 3.9 or newer there, or name one in the inventory: ansible_python_interpreter"


class AgentGone(HostUnreachable):
    """There is no agent any more: it was ended, or its host restarted."""

    def __init__(self, *, where: str) -> None:
        super().__init__("its agent has ended", where=where)


class AgentRefused(PerfctlError):
    """The agent, or the start of one, says why it cannot do something; `reason` is 'failed' or 'full'."""

    def __init__(self, message: str, reason: str, *, where: str, hint: str | None = None) -> None:
        super().__init__(message, where=where, hint=hint)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Answer:
    """A frame from the agent."""

    header: Mapping[str, Any]
    parts: tuple[bytes, ...] = ()


class AgentChannel:
    """One request at a time to an agent. While nothing is asked no byte crosses the connection."""

    def __init__(self, stream: Stream, where: str) -> None:
        """Use a stream whose other end has been handed to the agent. Raises like `request`."""
        self._stream = stream
        self._where = where
        self.greeting = self.answer(_ANSWER_S).header
        """What the agent said first: `protocol`, `python`, `jobs`."""

    def request(self, header: Mapping[str, Any], *, timeout_s: float = _ANSWER_S) -> Answer:
        """Return the answer to a request.

        Raises AgentRefused, HostUnreachable, CommandTimeout; after the last two the channel is of no use.
        """
        self._stream.write(host_agent.pack(header))
        return self.answer(timeout_s)

    def release(self) -> None:
        """Let the jobs go on that were armed by this channel; its answer comes when they have ended.

        Raises HostUnreachable.
        """
        self._stream.write(_RELEASE)

    def answer(self, timeout_s: float) -> Answer:
        """Return the answer to what was sent. Raises like `request`."""
        try:
            prefix = self._stream.read_exactly(host_agent.PREFIX.size, timeout_s=timeout_s)
            size = host_agent.header_size(prefix)
            header = host_agent.parse_header(
                self._stream.read_exactly(size, timeout_s=_TRANSFER_S), _LARGEST_PART_BYTES
            )
        except host_agent.FrameError as error:
            text = f"its agent's answer cannot be read: {error}"
            raise HostUnreachable(text, where=self._where) from error
        parts = [self._stream.read_exactly(size, timeout_s=_TRANSFER_S) for size in header["parts"]]
        if "error" in header:
            raise AgentRefused(str(header["error"]), str(header.get("kind")), where=self._where)
        return Answer(header, tuple(parts))

    def send_input(self, job_id: str, data: bytes) -> None:
        """Send what a job will read. There is no answer: a job whose input is not there does not start."""
        for begin in range(0, max(1, len(data)), _PIECE_BYTES):
            piece = data[begin : begin + _PIECE_BYTES]
            header = {"verb": "input", "id": job_id, "is_first": begin == 0}
            self._stream.write(host_agent.pack(header, [len(piece)]) + piece)

    def stop_agent(
        self, stored: Sequence[str], *, timeout_s: float, give_back: tuple[str, int, float] | None = None
    ) -> bool:
        """Have the agent end everything, and wait until it has ended itself.

        Return whether it has given back the lease that was asked for. Raises like `request`.
        """
        header = {"verb": "stop", "stored": list(stored), "give_back": list(give_back) if give_back else None}
        answer = self.request(header, timeout_s=timeout_s)
        with suppress(HostUnreachable):
            self._stream.read_exactly(1, timeout_s=timeout_s)
        return answer.header.get("is_given_back") is True

    def close(self) -> None:
        """Close the channel; jobs keep running."""
        self._stream.close()


@dataclass(frozen=True, slots=True)
class Agent:
    """A run's agent on a host."""

    transport: Transport
    python: str
    spool: str

    @classmethod
    def start(
        cls, transport: Transport, run_id: str, *, python: str, lifetime_s: float, spool_root: str | None
    ) -> tuple[Agent, AgentChannel]:
        """Start a run's agent anew, or find it with a job that still runs; return it with a channel.

        Raises AgentRefused, CommandFailed (no Python that can run it), HostUnreachable.
        """
        mark = _mark()
        request = {"run": run_id, "lifetime_s": lifetime_s, "root": spool_root, "mark": mark}
        stream = transport.stream(_boot_argv(python, "start", request))
        try:
            try:
                stream.write(PROGRAM)
                answer = _first_answer(stream, mark, transport.name)
            except (HostUnreachable, CommandTimeout) as error:
                raise _start_error(transport, python, error) from error
            if "spool" not in answer:
                # Another start has replaced it at once.
                raise AgentGone(where=transport.name)
            return cls(transport, python, str(answer["spool"])), AgentChannel(stream, transport.name)
        except BaseException:
            stream.close()
            raise

    def open_channel(self) -> AgentChannel:
        """Return another channel. Raises AgentGone, HostUnreachable, CommandTimeout."""
        mark = _mark()
        argv = [*shlex.split(self.python), "-I", "-S", "-c", _RELAY, self.spool, mark]
        stream = self.transport.stream(argv)
        try:
            if "gone" in _first_answer(stream, mark, self.transport.name):
                raise AgentGone(where=self.transport.name)
            return AgentChannel(stream, self.transport.name)
        except BaseException:
            stream.close()
            raise


def reap_run(
    transport: Transport,
    run_id: str | None,
    *,
    python: str,
    discard: bool = False,
    spool_root: str | None = None,
    stored: Sequence[str] = (),
) -> list[str]:
    """End what belongs to a run on a host (None: any run); return it, as "job ID" or "server NAME".

    Results that no controller has stored stay in the spool, or with `discard` are removed, returned as
    "result ID"; those of `stored` go. Raises AgentRefused, CommandFailed, HostUnreachable.
    """
    mark = _mark()
    request = {"run": run_id, "discard": discard, "root": spool_root, "stored": list(stored), "mark": mark}
    argv = _boot_argv(python, "reap", request)
    done = transport.run(argv, timeout_s=_START_S, stdin=PROGRAM)
    _, found, line = done.text.partition(mark)
    if not found:
        text = f"{python} did not run: {done.last_output or f'exit code {done.exit_code}'}"
        raise CommandFailed(text, where=transport.name, hint=_NO_PYTHON)
    answer = _parse(line.encode(), transport.name)
    return [str(item) for item in answer.get("ended", ())]


def _mark() -> str:
    # What a login shell, or what stands in for Python, prints before it is no answer.
    return f"perfctl-agent-{secrets.token_hex(8)} "


def _boot_argv(python: str, verb: str, request: Mapping[str, Any]) -> list[str]:
    return [*shlex.split(python), "-I", "-S", "-c", _BOOT, str(len(PROGRAM)), verb, json.dumps(request)]


def _first_answer(stream: Stream, mark: str, where: str) -> Mapping[str, Any]:
    stream.read_until(mark.encode(), timeout_s=_START_S)
    return _parse(stream.read_line(timeout_s=_ANSWER_S), where)


def _parse(line: bytes, where: str) -> Mapping[str, Any]:
    try:
        answer = dict(json.loads(line))
    except (ValueError, TypeError, RecursionError) as error:
        raise CommandFailed(f"its agent's answer cannot be read: {line[:80]!r}", where=where) from error
    if "error" in answer:
        kind = str(answer.get("kind"))
        hint = "wait for it, or end it: perfctl reap" if kind == "version" else None
        raise AgentRefused(str(answer["error"]), kind, where=where, hint=hint)
    return answer


def _start_error(transport: Transport, python: str, error: PerfctlError) -> PerfctlError:
    """Return why the agent did not start, which a broken connection does not say: Python, or the host."""
    try:
        done = transport.run([*shlex.split(python), "-I", "-S", "-c", _PROBE], timeout_s=_ANSWER_S)
    except CommandTimeout:
        text = f"{python} does not end: it cannot run perfctl's agent"
        return CommandFailed(text, where=transport.name, hint=_NO_PYTHON)
    lines = done.text.strip().splitlines()
    if done.exit_code == 0 and lines and lines[-1].startswith("True "):
        return CommandFailed(f"the agent does not start: {error.message}", where=transport.name)
    if done.exit_code == 0 and lines and lines[-1].startswith("False "):
        text = f"{python} is too old to run perfctl's agent: {lines[-1].removeprefix('False ')}"
        return CommandFailed(text, where=transport.name, hint=_NO_PYTHON)
    text = f"{python} cannot run perfctl's agent: {done.last_output or f'exit code {done.exit_code}'}"
    return CommandFailed(text, where=transport.name, hint=_NO_PYTHON)
