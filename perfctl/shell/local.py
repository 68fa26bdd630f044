"""A Transport to this machine: subprocesses, each in a session of its own."""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from perfctl.errors import CommandTimeout, HostUnreachable, Refused
from perfctl.shell import Completed, Process, Stream
from perfctl.shell.command import MARK, Elevation, refuse_if_sudo_failed, unwrap
from perfctl.shell.files import get_file, put_file
from perfctl.shell.reader import PieceReader
from perfctl.shell.session import END_TIMEOUT_S, PROGRAM, end_session_argv

_CHUNK_BYTES = 1 << 16
# A pipe holds 64 KiB; a command that writes without end must not keep `poll` busy.
_TURNS = 16
# A background child may hold the pipes open after the command has ended: it is waited for no longer.
_LINGER_S = 0.25
_START_TIMEOUT_S = 30.0


class LocalShell:
    """A Transport to this machine."""

    def __init__(self, name: str = "localhost", elevation: Elevation | None = None) -> None:
        self._name = name
        self._elevation = elevation or Elevation()

    @property
    def name(self) -> str:
        """Where commands run, for messages."""
        return self._name

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        """Run `argv` to its end. Raises CommandTimeout after everything it started has been ended."""
        running = self._start(argv, stdin)
        try:
            in_time = running.until_end(time.monotonic() + timeout_s)
        except BaseException:
            running.end()
            raise
        if not in_time:
            running.end()
            raise CommandTimeout(f"{argv[0]} did not end within {timeout_s:g} s", where=self._name)
        own = unwrap(bytes(running.stdout), bytes(running.stderr))
        refuse_if_sudo_failed(self._elevation, self._name, bytes(running.stderr))
        return Completed(tuple(argv), running.exit_code, own.stdout, own.stderr)

    def spawn(self, argv: Sequence[str]) -> Process:
        """Start `argv` in the background."""
        return _LocalProcess(self._start(argv, b""))

    def stream(self, argv: Sequence[str]) -> Stream:
        """Start `argv` and return its stdin and stdout.

        Raises HostUnreachable when it ends at once, Refused when sudo does not run it.
        """
        running = self._start(argv, None)
        stream = _LocalStream(running, self._name)
        try:
            stream.read_until(f"{MARK}\n".encode(), timeout_s=_START_TIMEOUT_S)
        except HostUnreachable:
            running.poll()
            stream.close()
            refuse_if_sudo_failed(self._elevation, self._name, bytes(running.stderr))
            raise
        return stream

    def put(self, local: Path, remote: str, *, mode: int) -> None:
        """Copy a file, with these permission bits."""
        put_file(self, local, remote, mode=mode)

    def get(self, remote: str) -> bytes:
        """Return a file's bytes. Raises CommandFailed when it cannot be read."""
        return get_file(self, remote)

    def close(self) -> None:
        """Nothing is held open."""

    def _start(self, argv: Sequence[str], stdin: bytes | None) -> _Running:
        wrapped, data = self._elevation.wrap(argv, stdin or b"")
        try:
            process = subprocess.Popen(
                [os.fsencode(word) for word in wrapped],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise Refused(f"cannot start {wrapped[0]}: {error.strerror}", where=self._name) from error
        return _Running(process, data, self._elevation, keep_input=stdin is None)


class _Running:
    """A subprocess and its output so far; moves both outputs and the input at once."""

    def __init__(
        self, process: subprocess.Popen[bytes], stdin: bytes, elevation: Elevation, *, keep_input: bool
    ) -> None:
        assert process.stdin and process.stdout and process.stderr  # Popen was given PIPE for all three
        self.stdout = bytearray()
        self.stderr = bytearray()
        self._process = process
        self._elevation = elevation
        self._input = process.stdin
        self._keep_input = keep_input
        self._pending = memoryview(stdin)
        self._selector = selectors.DefaultSelector()
        for pipe, sink in ((process.stdout, self.stdout), (process.stderr, self.stderr)):
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, selectors.EVENT_READ, sink)
        os.set_blocking(self._input.fileno(), False)
        if stdin or not keep_input:
            self._selector.register(self._input, selectors.EVENT_WRITE)

    @property
    def exit_code(self) -> int:
        """The exit code, 128+n for a wrapper killed by signal n."""
        code = self._process.returncode
        return 128 - code if code < 0 else code

    def poll(self) -> int | None:
        """Return the exit code if it has ended, after reading what is there."""
        code = self._process.poll()
        for _ in range(_TURNS):
            if not self._selector.get_map() or not self.move(0):
                break
        return code

    def until_end(self, deadline: float) -> bool:
        """Pump until the process has ended and its output is read; False when the deadline came first."""
        while self._selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            # The process may end while a child of it keeps the pipes open: poll now and then. Before reading,
            # because what it wrote last is in the pipes when it has ended, and need not be when nothing came.
            has_ended = self._process.poll() is not None
            if not self.move(min(left, _LINGER_S)) and has_ended:
                break
        try:
            self._process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
        self.close()
        return True

    def move(self, timeout_s: float) -> bool:
        """Move what can be moved within `timeout_s`; return whether anything was."""
        ready = self._selector.select(timeout_s)
        for key, _ in ready:
            if key.data is None:
                self._feed()
                continue
            data = os.read(key.fd, _CHUNK_BYTES)
            if data:
                key.data.extend(data)
            else:
                self._selector.unregister(key.fileobj)
        return bool(ready)

    def write(self, data: bytes, deadline: float) -> bool:
        """Write all of `data` to its input; False when the deadline came first or the input was closed."""
        self._pending = memoryview(bytes(self._pending) + data)
        if self._input.closed:
            return False
        if self._input not in self._selector.get_map():
            self._selector.register(self._input, selectors.EVENT_WRITE)
        while self._pending:
            left = deadline - time.monotonic()
            if left <= 0 or self._input.closed:
                return False
            self.move(left)
        return not self._input.closed

    def receive(self, timeout_s: float) -> bytes | None:
        """Return new standard output, b'' at its end, None when the time is up."""
        deadline = time.monotonic() + timeout_s
        while not self.stdout:
            if self._process.stdout not in self._selector.get_map():
                return b""
            left = deadline - time.monotonic()
            if left <= 0 and not self.move(0):
                return None
            self.move(max(0.0, left))
        piece = bytes(self.stdout)
        self.stdout.clear()
        return piece

    def end(self) -> None:
        """End the whole session (by sudo where it belongs to root), reap the process, close the pipes."""
        pid = unwrap(b"", bytes(self.stderr)).pid or self._process.pid
        argv, data = end_session_argv(pid, shlex.quote(sys.executable)), PROGRAM
        if self._elevation.become:
            argv, data = self._elevation.wrap(argv, data)
        subprocess.run(
            argv, input=data, capture_output=True, timeout=END_TIMEOUT_S, check=False, start_new_session=True
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=END_TIMEOUT_S)
        self.close()

    def hang_up(self) -> bool:
        """Close the pipes and return whether the process ends by itself soon after."""
        self.close()
        try:
            self._process.wait(timeout=_LINGER_S)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        """Close the pipes."""
        self._selector.close()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _feed(self) -> None:
        if self._pending:
            try:
                sent = os.write(self._input.fileno(), self._pending[:_CHUNK_BYTES])
            except BrokenPipeError:
                sent, self._keep_input = len(self._pending), False
            self._pending = self._pending[sent:]
        if not self._pending:
            self._selector.unregister(self._input)
            if not self._keep_input:
                with contextlib.suppress(OSError):
                    self._input.close()


class _LocalProcess:
    """A background subprocess."""

    def __init__(self, running: _Running) -> None:
        self._running = running
        self._is_ended = False

    def is_running(self) -> bool:
        """Return whether it still runs."""
        return not self._is_ended and self._running.poll() is None

    def stop(self) -> None:
        """End it and its children; again is harmless."""
        if not self._is_ended:
            self.is_running()
            self._running.end()
            self._is_ended = True

    def output(self) -> str:
        """Return what it has written so far."""
        if not self._is_ended:
            self._running.poll()
        own = unwrap(bytes(self._running.stdout), bytes(self._running.stderr))
        return (own.stdout + own.stderr).decode("utf-8", "backslashreplace")


class _LocalStream:
    """The stdin and stdout of a subprocess."""

    def __init__(self, running: _Running, name: str) -> None:
        self._running = running
        self._name = name
        self._reader = PieceReader(running.receive, name, self._error_output)

    def write(self, data: bytes) -> None:
        """Send all of `data`. Raises HostUnreachable when the other end is gone."""
        if not self._running.write(data, time.monotonic() + _START_TIMEOUT_S):
            raise HostUnreachable(f"the other end is gone: {self._error_output()}", where=self._name)

    def read_line(self, *, timeout_s: float) -> bytes:
        """Return one line with its newline."""
        return self._reader.line(timeout_s)

    def read_exactly(self, size_bytes: int, *, timeout_s: float) -> bytes:
        """Return exactly that many bytes."""
        return self._reader.exactly(size_bytes, timeout_s)

    def read_until(self, mark: bytes, *, timeout_s: float) -> bytes:
        """Return the bytes before `mark` and drop the mark."""
        return self._reader.until(mark, timeout_s)

    def close(self) -> None:
        """Close both ends; a command that does not end by that is ended."""
        if not self._running.hang_up():
            self._running.end()

    def _error_output(self) -> str:
        return unwrap(b"", bytes(self._running.stderr)).stderr.decode("utf-8", "backslashreplace").strip()
