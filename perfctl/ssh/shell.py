"""Commands over one ssh connection: several channels at once, both outputs read together, timeouts kept."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import paramiko

from perfctl.errors import CommandTimeout, HostUnreachable, PerfctlError, Refused
from perfctl.shell import Completed, Process, Stream
from perfctl.shell.command import (
    MARK,
    Elevation,
    login_line,
    refuse_if_sudo_failed,
    unwrap,
)
from perfctl.shell.files import get_file, put_file
from perfctl.shell.reader import PieceReader
from perfctl.shell.session import END_TIMEOUT_S, PROGRAM, end_session_argv
from perfctl.ssh.config import SshSettings
from perfctl.ssh.dial import Connection, dial

# sshd refuses the eleventh session of a connection by default (MaxSessions 10); two are left for others.
_MAX_CHANNELS = 8
_CHUNK_BYTES = 1 << 15
_WINDOW_BYTES = 1 << 21
# A background child may hold the streams open after the command has ended: it is waited for no longer.
_LINGER_S = 0.25
_START_TIMEOUT_S = 30.0
_CLOSED_BY_SIGNAL = 255


class SshShell:
    """A Transport over ssh. A lost connection is made again by the next command."""

    def __init__(
        self, settings: SshSettings, elevation: Elevation, *, timeout_s: float, python: str = "python3"
    ) -> None:
        """`python` is the host's interpreter, by which commands are ended."""
        self._settings = settings
        self._python = python
        self._elevation = elevation
        self._timeout_s = timeout_s
        self._slots = threading.BoundedSemaphore(_MAX_CHANNELS)
        self._dialling = threading.Lock()
        self._is_closed = False
        self._connection = dial(settings, timeout_s)

    @property
    def name(self) -> str:
        """The host's name in the inventory."""
        return self._settings.name

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        """Run `argv` to its end. Raises CommandTimeout after everything it started has been ended."""
        deadline = time.monotonic() + timeout_s
        wrapped, data = self._elevation.wrap(argv, stdin)
        with self._channel(timeout_s) as channel:
            running = _Running(self, channel, data)
            running.start(login_line(wrapped))
            try:
                in_time = running.until_end(deadline)
            except KeyboardInterrupt:
                self.end(running.await_pid())
                raise
            pid = running.pid if in_time else running.await_pid()
        if not in_time:
            self.end(pid)
            raise CommandTimeout(f"{argv[0]} did not end within {timeout_s:g} s", where=self.name)
        own = unwrap(bytes(running.stdout), bytes(running.stderr))
        if own.pid is None:
            raise self.not_begun(own.stdout, own.stderr)
        return Completed(tuple(argv), running.exit_code, own.stdout, own.stderr)

    def spawn(self, argv: Sequence[str]) -> Process:
        """Start `argv` in the background."""
        wrapped, data = self._elevation.wrap(argv)
        channel = self._open(_START_TIMEOUT_S)
        running = _Running(self, channel, data)
        try:
            running.start(login_line(wrapped))
        except BaseException:
            self.release(channel)
            raise
        return _SshProcess(self, running)

    def stream(self, argv: Sequence[str]) -> Stream:
        """Start `argv` and return its stdin and stdout.

        Raises HostUnreachable when it does not start, Refused when sudo does not run it.
        """
        wrapped, data = self._elevation.wrap(argv)
        stream = _SshStream(self, self._open(_START_TIMEOUT_S))
        try:
            stream.start(login_line(wrapped), data)
        except BaseException:
            stream.close()
            raise
        return stream

    def put(self, local: Path, remote: str, *, mode: int) -> None:
        """Copy a file there, with these permission bits."""
        put_file(self, local, remote, mode=mode)

    def get(self, remote: str) -> bytes:
        """Return a file's bytes. Raises CommandFailed when it cannot be read."""
        return get_file(self, remote)

    def close(self) -> None:
        """End the connection; commands in a session of their own keep running."""
        self._is_closed = True
        self._connection.close()

    def end(self, pid: int | None) -> None:
        """End the session of a command that was started here, and everything in it."""
        if pid is not None:
            self.run(end_session_argv(pid, self._python), timeout_s=END_TIMEOUT_S, stdin=PROGRAM)

    def traffic_bytes(self) -> tuple[int, int]:
        """Return (sent, received) payload bytes of the TCP connection so far; (0, 0) through a proxy.

        From tcp_info's tcpi_bytes_acked and tcpi_bytes_received (linux/tcp.h).
        """
        carrier = self._connection.socket
        if carrier is None:
            return 0, 0
        info = carrier.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        acked, received = struct.unpack_from("=QQ", info, 120)
        return int(acked), int(received)

    @contextlib.contextmanager
    def _channel(self, timeout_s: float) -> Iterator[paramiko.Channel]:
        channel = self._open(timeout_s)
        try:
            yield channel
        finally:
            self.release(channel)

    def _open(self, timeout_s: float) -> paramiko.Channel:
        if not self._slots.acquire(timeout=timeout_s):
            raise CommandTimeout(
                f"all {_MAX_CHANNELS} channels of the connection were busy for {timeout_s:g} s",
                where=self.name,
            )
        try:
            return self._live().transport.open_session(timeout=self._timeout_s)
        except (paramiko.SSHException, EOFError, OSError) as error:
            self._slots.release()
            raise self.lost(error) from error
        except BaseException:
            self._slots.release()
            raise

    def release(self, channel: paramiko.Channel) -> None:
        """Close a channel; another command may open one now."""
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            channel.close()
        self._slots.release()

    def _live(self) -> Connection:
        """Return the connection, dialled again if it was lost meanwhile."""
        with self._dialling:
            if not self._connection.transport.is_active():
                if self._is_closed:
                    raise HostUnreachable("the connection was closed here", where=self.name)
                self._connection.close()
                self._connection = dial(self._settings, self._timeout_s)
            return self._connection

    def not_begun(self, stdout: bytes, stderr: bytes) -> PerfctlError:
        """Return the error for a command that ended before it began: by sudo, or by the login shell.

        `stdout` and `stderr` are what was printed instead.
        """
        if self._elevation.become and MARK in self._print(login_line(["echo", MARK])):
            try:
                refuse_if_sudo_failed(self._elevation, self.name, stderr)
            except Refused as error:
                return error
        # Every shell reads this alike; what is no shell (nologin, a menu) has printed why.
        name = self._print(b"echo $SHELL").strip()
        lines = (stdout + stderr).decode("utf-8", "backslashreplace").strip().splitlines()
        return HostUnreachable(
            f"the login shell of {self._settings.user}{f', {name},' if name.startswith('/') else ''}"
            f" did not run the command: {lines[-1] if lines else 'no output'}",
            where=self.name,
            hint="log in as a user whose shell runs `sh -c COMMAND`, or change it: chsh -s /bin/sh USER",
        )

    def _print(self, line: bytes) -> str:
        """Return what the login shell prints for a line; '' when it does not end."""
        with self._channel(_START_TIMEOUT_S) as channel:
            running = _Running(self, channel, b"")
            running.start(line)
            running.until_end(time.monotonic() + _START_TIMEOUT_S)
        return running.stdout.decode("utf-8", "backslashreplace")

    def lost(self, cause: BaseException | None = None) -> HostUnreachable:
        """Return the error for a connection that broke."""
        reason = f": {cause}" if cause is not None and str(cause) else ""
        return HostUnreachable(f"the ssh connection was lost{reason}", where=self.name)


class _Arrival(threading.Event):
    """Set by either of a channel's two buffers when something arrives.

    paramiko's own event for both, `Channel.fileno()`, can miss one when it is set and cleared at once.
    """

    def clear(self) -> None:
        """Do nothing: called by a buffer that was read empty, while the other may be full."""

    def reset(self) -> None:
        """Wait for what arrives from now on."""
        super().clear()


class _Running:
    """A command on a channel and its output so far."""

    def __init__(self, shell: SshShell, channel: paramiko.Channel, stdin: bytes) -> None:
        self.channel = channel
        self.stdout = bytearray()
        self.stderr = bytearray()
        self._shell = shell
        self._pending = memoryview(stdin)

    def start(self, line: bytes) -> None:
        """Send the command. Raises HostUnreachable."""
        try:
            self.channel.settimeout(_START_TIMEOUT_S)
            self.channel.exec_command(line)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._shell.lost(error) from error

    @property
    def pid(self) -> int | None:
        """The id of the wrapper's process, None until it has been printed."""
        return unwrap(b"", bytes(self.stderr)).pid

    def await_pid(self) -> int | None:
        """Return the id of the wrapper's process once it is printed, None if the command never begins.

        What is to be ended may begin after its time is up, on a host that is busy.
        """
        deadline = time.monotonic() + _START_TIMEOUT_S
        while self.pid is None and not (self.is_ended or self.channel.closed) and time.monotonic() < deadline:
            time.sleep(0.005)
            self.drain()
        return self.pid

    @property
    def is_ended(self) -> bool:
        """Whether the host has reported the command's exit status."""
        return self.channel.exit_status_ready()

    @property
    def exit_code(self) -> int:
        """The exit code; 255 (as ssh has it) when a signal ended the wrapper itself."""
        status = self.channel.recv_exit_status()
        return status if status >= 0 else _CLOSED_BY_SIGNAL

    def until_end(self, deadline: float) -> bool:
        """Pump until the command has ended and its output is read; False when the deadline came first."""
        arrival = _Arrival()
        self.channel.in_buffer.set_event(arrival)
        self.channel.in_stderr_buffer.set_event(arrival)
        while True:
            arrival.reset()
            # Asked before what has arrived is read: an end that comes after that may have brought more.
            is_over, has_ended = self.channel.eof_received or self.channel.closed, self.is_ended
            found = self.drain()
            if is_over:
                break
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.feed()
            # The window for input opens without an event: poll often while there is more to send.
            has_news = found or arrival.wait(min(left, 0.005 if self._pending else _LINGER_S))
            if not has_news and not self._pending and has_ended:
                break
        # Timeouts count here too; recv_exit_status would ignore them.
        if not self.channel.status_event.wait(max(0.0, deadline - time.monotonic())):
            return False
        if self.channel.exit_status < 0 and not self._is_connected():
            raise self._shell.lost()
        return True

    def drain(self) -> bool:
        """Read what has arrived on both streams; return whether there was anything."""
        size = len(self.stdout) + len(self.stderr)
        # The buffers hold no more than the channel's window; what comes meanwhile waits for the next turn.
        if self.channel.recv_ready():
            self.stdout += self.channel.recv(_WINDOW_BYTES)
        if self.channel.recv_stderr_ready():
            self.stderr += self.channel.recv_stderr(_WINDOW_BYTES)
        return len(self.stdout) + len(self.stderr) > size

    def feed(self) -> None:
        """Send as much input as the window takes, then close it."""
        try:
            while self._pending and self.channel.send_ready():
                self._pending = self._pending[self.channel.send(bytes(self._pending[:_CHUNK_BYTES])) :]
            if not self._pending and not self.channel.eof_sent:
                self._end_input()
        except (paramiko.SSHException, EOFError, OSError):
            # It ended without reading its input, which is no error; a lost connection raises elsewhere.
            self._pending = memoryview(b"")

    def _end_input(self) -> None:
        """Say that no more input comes, unless the command has ended.

        paramiko's `shutdown_write` decides that under the channel's lock, and sends when it has let go of it.
        What is sent for a channel that was closed in between makes sshd end the whole connection.
        """
        with self.channel.lock:
            message = self.channel._send_eof()  # type: ignore[attr-defined]
            if message is not None:
                self.channel.transport._send_user_message(message)  # type: ignore[union-attr]

    def _is_connected(self) -> bool:
        transport = self.channel.get_transport()
        return transport is not None and transport.is_active()


class _SshProcess:
    """A background command on a channel of its own."""

    def __init__(self, shell: SshShell, running: _Running) -> None:
        self._shell = shell
        self._running = running
        self._is_stopped = False
        running.feed()

    def is_running(self) -> bool:
        """Return whether it still runs."""
        self._running.drain()
        return not self._is_stopped and not self._running.is_ended and not self._running.channel.closed

    def stop(self) -> None:
        """End it and its children; again is harmless."""
        if self._is_stopped:
            return
        pid = self._running.await_pid()
        self._is_stopped = True
        try:
            self._shell.end(pid)
        finally:
            self._running.drain()
            self._shell.release(self._running.channel)

    def output(self) -> str:
        """Return what it has written so far."""
        if not self._is_stopped:
            self._running.drain()
        own = unwrap(bytes(self._running.stdout), bytes(self._running.stderr))
        return (own.stdout + own.stderr).decode("utf-8", "backslashreplace")


class _SshStream:
    """The stdin and stdout of a command on a channel."""

    def __init__(self, shell: SshShell, channel: paramiko.Channel) -> None:
        self._shell = shell
        self._channel = channel
        self._stderr = bytearray()
        self._is_closed = False
        self._reader = PieceReader(self._receive, shell.name, self._error_output)

    def start(self, line: bytes, stdin: bytes) -> None:
        """Send the command and wait until it runs."""
        try:
            self._channel.settimeout(_START_TIMEOUT_S)
            self._channel.exec_command(line)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._shell.lost(error) from error
        if stdin:
            self.write(stdin)
        try:
            self.read_until(f"{MARK}\n".encode(), timeout_s=_START_TIMEOUT_S)
        except HostUnreachable as error:
            # The exit status comes after the end of the output. Without one the connection broke.
            has_ended = self._channel.status_event.wait(_START_TIMEOUT_S) and self._channel.exit_status >= 0
            if has_ended and MARK.encode() not in self._stderr:
                raise self._shell.not_begun(self._reader.unread, bytes(self._stderr)) from error
            raise

    def write(self, data: bytes) -> None:
        """Send all of `data`. Raises HostUnreachable when the other end is gone."""
        try:
            self._channel.settimeout(_START_TIMEOUT_S)
            self._channel.sendall(data)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._shell.lost(error) from error

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
        """Close both ends."""
        if not self._is_closed:
            self._is_closed = True
            self._shell.release(self._channel)

    def _receive(self, timeout_s: float) -> bytes | None:
        while self._channel.recv_stderr_ready():
            self._stderr += self._channel.recv_stderr(_CHUNK_BYTES)
        self._channel.settimeout(timeout_s)
        try:
            return self._channel.recv(_CHUNK_BYTES)
        except TimeoutError:
            return None
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self._shell.lost(error) from error

    def _error_output(self) -> str:
        with contextlib.suppress(TimeoutError, PerfctlError, OSError):
            self._channel.settimeout(0.2)
            while piece := self._channel.recv_stderr(_CHUNK_BYTES):
                self._stderr += piece
        return unwrap(b"", bytes(self._stderr)).stderr.decode("utf-8", "backslashreplace").strip()
