"""Connect and log in by a host's settings: socket, jump hosts, handshake, host key, login."""

from __future__ import annotations

import dataclasses
import logging
import os
import random
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
from paramiko.agent import AgentSSH
from paramiko.pkey import PublicBlob, UnknownKeyType

from perfctl.errors import HostError, HostTurnedAway, HostUnreachable
from perfctl.ssh.config import SshSettings, is_there
from perfctl.ssh.known_hosts import check_host_key, known_key_types

_KEEPALIVE_S = 15
# sshd hangs up after MaxAuthTries (6) refused keys; an agent may hold more.
_MAX_KEYS = 6
# sshd turns away logins at random while 10 others have not ended (MaxStartups 10:30:100): fewer at a time go
# to one server, and who is turned away tries again.
_MAX_LOGINS = 6
_AGENT_TIMEOUT_S = 30.0
_PAUSES_S = (0.3, 0.9, 2.7)
_logins: dict[str, threading.BoundedSemaphore] = {}
"""By what is logged in to or through: HOST:PORT of a server, the text of a ProxyCommand."""

# Failures reach the user as our own errors; paramiko's log would print them once more, as tracebacks.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


@dataclasses.dataclass(slots=True)
class Connection:
    """A logged-in connection and what carries it (jump hosts, a proxy command)."""

    transport: paramiko.Transport
    socket: socket.socket | None
    """The TCP socket to the host itself; None through a proxy."""
    below: list[Connection] = dataclasses.field(default_factory=list)
    proxy: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        """Hang up, and take down what carried the connection."""
        self.transport.close()
        for connection in reversed(self.below):
            connection.close()
        if self.proxy is not None:
            self.proxy.terminate()
            self.proxy.wait(timeout=10)


_CHECK_ADDRESS = "check ansible_host in the inventory"


class _HungUpError(Exception):
    """The server ended the connection before the login, as one that has too many logins at a time does."""

    def __init__(self, error: HostUnreachable) -> None:
        super().__init__(str(error))
        self.error = error


def dial(settings: SshSettings, timeout_s: float) -> Connection:
    """Connect and log in, with further tries where the server hangs up before the login.

    Raises HostUnreachable or HostKeyMismatch.
    """
    for pause_s in _PAUSES_S:
        try:
            return _dial_once(settings, timeout_s)
        except _HungUpError:
            # Not all at the same moment again.
            time.sleep(pause_s * random.uniform(0.5, 1.5))
    try:
        return _dial_once(settings, timeout_s)
    except _HungUpError as last:
        raise last.error from last.error.__cause__


def _dial_once(settings: SshSettings, timeout_s: float) -> Connection:
    """Connect and log in. Raises HostUnreachable, HostKeyMismatch, _HungUpError."""
    below: list[Connection] = []
    proxy = None
    way = settings.proxy_command if settings.proxy_command and not settings.jumps else None
    try:
        if settings.jumps:
            below.append(_dial_jump(_last_jump(settings), timeout_s))
        # A jump host is logged in to before: who waits here for one server holds no other's place.
        server = way or f"{settings.hostname}:{settings.port}"
        with _logins.setdefault(server, threading.BoundedSemaphore(_MAX_LOGINS)):
            carrier: Any
            if below:
                carrier = _tunnel(below[-1], settings, timeout_s)
            elif way:
                carrier, proxy = _through_command(settings)
                if settings.passes_socket:
                    carrier = _passed_socket(carrier, settings, timeout_s)
            else:
                carrier = _tcp(settings, timeout_s)
            transport = _handshake(carrier, settings, timeout_s)
            is_direct = not below and proxy is None
            connection = Connection(transport, carrier if is_direct else None, below, proxy)
            try:
                _log_in(transport, settings, timeout_s)
            except BaseException:
                transport.close()
                raise
    except BaseException:
        for opened in below:
            opened.close()
        if proxy is not None:
            proxy.terminate()
            proxy.wait(timeout=10)
        raise
    if connection.socket is None:
        # Through a proxy the kernel's keep-alive ends at the proxy; ssh's own goes all the way.
        transport.set_keepalive(_KEEPALIVE_S)
    return connection


def _dial_jump(settings: SshSettings, timeout_s: float) -> Connection:
    """Log in to a jump host; where it cannot be reached, its own place in the configuration is named."""
    try:
        return dial(settings, timeout_s)
    except HostUnreachable as error:
        if error.hint == _CHECK_ADDRESS:
            error.hint = (
                "check the jump host: ansible_ssh_common_args in the inventory, ProxyJump in ssh_config"
            )
        raise


def _last_jump(settings: SshSettings) -> SshSettings:
    """Return the last hop, reached through the hops before it."""
    *before, last = settings.jumps
    return dataclasses.replace(last, jumps=tuple(before)) if before else last


def _tcp(settings: SshSettings, timeout_s: float) -> socket.socket:
    place = f"{settings.hostname} port {settings.port}"
    try:
        connected = socket.create_connection((settings.hostname, settings.port), timeout=timeout_s)
    except socket.gaierror as error:
        raise HostUnreachable(
            f"its name {settings.hostname} is not known ({error.strerror})",
            where=settings.name,
            hint=_CHECK_ADDRESS,
        ) from error
    except ConnectionRefusedError as error:
        raise HostTurnedAway(
            f"nothing listens at {place}",
            where=settings.name,
            hint="is sshd running there, and on this port?",
        ) from error
    except UnicodeError as error:
        # A label of the name that is empty or longer than 63 bytes.
        raise HostUnreachable(
            f"{settings.hostname!r} is no name of a host", where=settings.name, hint=_CHECK_ADDRESS
        ) from error
    except OSError as error:
        reason = "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise HostUnreachable(
            f"{place}: {reason}", where=settings.name, hint=f"see whether it is up: ping {settings.hostname}"
        ) from error
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # The kernel's keep-alive carries no ssh bytes and wakes no process on the host while it measures.
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_S)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 2 * _KEEPALIVE_S * 1000)
    return connected


def _tunnel(jump: Connection, settings: SshSettings, timeout_s: float) -> paramiko.Channel:
    place = (settings.hostname, settings.port)
    try:
        return jump.transport.open_channel("direct-tcpip", place, ("127.0.0.1", 0), timeout=timeout_s)
    except (paramiko.SSHException, OSError) as error:
        raise HostUnreachable(
            f"the jump host cannot reach {settings.hostname} port {settings.port}: {error}",
            where=settings.name,
        ) from error


def _through_command(settings: SshSettings) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Start the ProxyCommand with one end of a socket pair as its input and output."""
    assert settings.proxy_command is not None
    command = settings.expand(settings.proxy_command, "ProxyCommand")
    ours, theirs = socket.socketpair()
    try:
        # ssh_config(5): the command string is executed by the user's shell; it is the user's own text.
        shell = os.environ.get("SHELL") or "/bin/sh"
        proxy = subprocess.Popen(
            [shell, "-c", f"exec {command}"],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        ours.close()
        raise HostUnreachable(f"ProxyCommand: {error.strerror}", where=settings.name) from error
    finally:
        theirs.close()
    return ours, proxy


def _passed_socket(channel: socket.socket, settings: SshSettings, timeout_s: float) -> socket.socket:
    """Return the connected socket that the ProxyCommand sends, as ProxyUseFdpass has it."""
    with channel:
        channel.settimeout(timeout_s)
        try:
            _, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
        except OSError as error:
            descriptors = []
            reason = str(error)
        else:
            reason = "it ended without one"
    if not descriptors:
        raise HostUnreachable(
            f"{settings.way} passed no socket (ProxyUseFdpass): {reason}",
            where=settings.name,
            hint=f"compare: {_by_hand(settings)}",
        )
    return socket.socket(fileno=descriptors[0])


def _handshake(carrier: Any, settings: SshSettings, timeout_s: float) -> paramiko.Transport:
    transport = paramiko.Transport(carrier)
    deadline = time.monotonic() + timeout_s
    try:
        transport.banner_timeout = timeout_s
        transport.handshake_timeout = timeout_s
        transport.auth_timeout = timeout_s
        _prefer_known_keys(transport, settings)
        transport.start_client(timeout=timeout_s)
        key = transport.get_remote_server_key()
        check_host_key(settings, key.get_name(), key.asbytes())
    except (paramiko.SSHException, EOFError, OSError) as error:
        transport.close()
        through = f" through {settings.way}" if settings.way else ""
        # Nothing of the server's own came before the end: it was turned away, perhaps for the moment only.
        is_turned_away = not transport.remote_version and time.monotonic() < deadline
        refused = (HostTurnedAway if is_turned_away else HostUnreachable)(
            f"no ssh handshake with {settings.hostname} port {settings.port}{through}:"
            f" {error or 'it hung up'}",
            where=settings.name,
            hint=f"compare: {_by_hand(settings)}",
        )
        refused.__cause__ = error
        raise (_HungUpError(refused) if is_turned_away else refused) from error
    except HostError:
        transport.close()
        raise
    return transport


def _by_hand(settings: SshSettings) -> str:
    """Return an ssh command that goes the same way."""
    way = []
    if settings.jumps:
        way = ["-J", ",".join(f"{jump.user}@{jump.hostname}:{jump.port}" for jump in settings.jumps)]
    elif settings.proxy_command:
        way = ["-o", f"ProxyCommand={settings.proxy_command}"]
    return shlex.join(["ssh", "-v", *way, "-p", str(settings.port), settings.hostname])


def _prefer_known_keys(transport: paramiko.Transport, settings: SshSettings) -> None:
    options = transport.get_security_options()
    offered = list(options.key_types)
    wanted: list[str] = []
    for key_type in known_key_types(settings):
        names = ["rsa-sha2-512", "rsa-sha2-256", key_type] if key_type == "ssh-rsa" else [key_type]
        wanted += [name for name in names if name in offered and name not in wanted]
    options.key_types = tuple(wanted + [name for name in offered if name not in wanted])


def _log_in(transport: paramiko.Transport, settings: SshSettings, timeout_s: float) -> None:
    tried: list[str] = []
    try:
        for label, key in _keys(settings, tried):
            try:
                if not transport.auth_publickey(settings.user, key):
                    return
                tried.append(f"{label} (a second factor is wanted)")
            except paramiko.BadAuthenticationType as error:
                tried.append(f"{label} (only {', '.join(error.allowed_types)} allowed)")
                break
            except paramiko.AuthenticationException:
                tried.append(label)
        if settings.password is not None:
            tried.append("the password")
            if not transport.auth_password(settings.user, settings.password):
                return
    except paramiko.AuthenticationException:
        pass
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise HostUnreachable(
            f"it hung up during the login as {settings.user}: {error}", where=settings.name
        ) from error
    raise HostUnreachable(
        f"it refused the login as {settings.user}; tried: {', '.join(tried) or 'nothing, there is no key'}",
        where=settings.name,
        hint=f"log in by hand: ssh -p {settings.port} {settings.user}@{settings.hostname}; set ansible_user "
        "and ansible_ssh_private_key_file in the inventory, or add the key to the agent (ssh-add)",
    )


def _keys(settings: SshSettings, notes: list[str]) -> Iterator[tuple[str, paramiko.PKey]]:
    """Yield (label, key): the named files first, then the agent's unless only files may be used.

    A key that has a certificate comes twice, with the certificate first, as ssh does it.
    """
    count = 0
    for path in settings.identity_files:
        loaded = _load_key(path, notes) if is_there(path) else None
        for certificate in _certificates(settings, path, loaded, notes):
            with_certificate = _load_key(path, notes)
            if with_certificate is not None and count < _MAX_KEYS:
                with_certificate.load_certificate(str(certificate))
                count += 1
                yield f"{path} with {certificate}", with_certificate
        if loaded is not None and count < _MAX_KEYS:
            count += 1
            yield str(path), loaded
    names = {path.name for path in settings.identity_files}
    for key in _agent_keys(settings.agent, notes):
        is_named = Path(key.comment).name in names
        if count < _MAX_KEYS and (is_named or not settings.identities_only):
            count += 1
            yield f"agent key {key.comment or key.fingerprint}", key


def _certificates(
    settings: SshSettings, path: Path, key: paramiko.PKey | None, notes: list[str]
) -> Iterator[Path]:
    """Yield the certificate files that are for a key."""
    if key is None:
        return
    beside = path.with_name(f"{path.name}-cert.pub")
    for file in (*settings.certificate_files, beside):
        if not is_there(file):
            continue
        try:
            blob = PublicBlob.from_file(str(file))
        except (ValueError, OSError, paramiko.SSHException) as error:
            notes.append(f"{file} (cannot be read: {error})")
            continue
        # A certificate holds the public key's own fields after its type and a nonce.
        if key.asbytes()[4 + len(key.get_name()) :] in blob.key_blob:
            yield file


class _Agent(AgentSSH):
    """The agent at a socket; paramiko's own knows only the one of SSH_AUTH_SOCK."""

    def __init__(self, path: str) -> None:
        super().__init__()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(_AGENT_TIMEOUT_S)
            connection.connect(path)
            self._connect(connection)  # type: ignore[attr-defined]
        except BaseException:
            connection.close()
            raise


def _agent_keys(path: str | None, notes: list[str]) -> tuple[paramiko.AgentKey, ...]:
    if path is None:
        return ()
    try:
        return _Agent(path).get_keys()
    except (OSError, ValueError, paramiko.SSHException) as error:
        notes.append(f"the agent at {path} (does not answer: {error})")
        return ()


def _load_key(path: Path, notes: list[str]) -> paramiko.PKey | None:
    try:
        return paramiko.PKey.from_path(path)
    except (paramiko.PasswordRequiredException, TypeError):
        notes.append(f"{path} (has a passphrase: add it to the agent)")
    except (paramiko.SSHException, UnknownKeyType, ValueError, OSError) as error:
        notes.append(f"{path} (cannot be read: {error})")
    return None
