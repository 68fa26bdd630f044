"""Reaching a host through a real sshd: host keys, logins, jump hosts, what breaks and how it is told."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import paramiko
import pytest
from paramiko.common import cMSG_CHANNEL_EOF

from perfctl import facts
from perfctl.errors import CommandTimeout, HostKeyMismatch, HostUnreachable, Refused, UsageError
from perfctl.execute.fleet import Fleet
from perfctl.job import JobShell
from perfctl.model import Host
from perfctl.shell import Transport
from perfctl.shell.command import Elevation
from perfctl.shell.local import LocalShell
from perfctl.ssh import connect
from perfctl.ssh.config import settings_for
from perfctl.ssh.shell import SshShell, _Running
from tests.contract.job_spool import RUN
from tests.processes import unique_seconds, wait_until, with_argument
from tests.sshd import Sshd, running_sshd


def _options(sshd: Sshd, known_hosts: Path, *more: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    return (("ConfigFile", str(sshd.config_file)), ("UserKnownHostsFile", str(known_hosts)), *more)


def _write_config(sshd: Sshd, folder: Path, text: str) -> Path:
    config = folder / "config"
    config.write_text(f"GlobalKnownHostsFile /dev/null\n{text}")
    return config


def test_a_local_host_needs_no_ssh() -> None:
    assert isinstance(connect(Host("here", "localhost", connection="local")), LocalShell)


def test_reaching_this_machine_does_not_load_paramiko() -> None:
    script = (
        "import sys; from perfctl.ssh import connect; from perfctl.model import Host\n"
        "assert connect(Host('x', 'x', connection='local')).run(['true'], timeout_s=9).exit_code == 0\n"
        "sys.exit('paramiko' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0


def test_an_unknown_host_key_is_refused_with_the_command_that_mends_it(sshd: Sshd, tmp_path: Path) -> None:
    empty = tmp_path / "known_hosts"
    empty.touch()
    with pytest.raises(HostKeyMismatch, match="not known") as caught:
        connect(sshd.host(ssh_options=_options(sshd, empty)))
    assert caught.value.where == "box"
    assert caught.value.exit_code == 4
    assert f"ssh-keyscan -p {sshd.port} 127.0.0.1 >> {empty}" in str(caught.value.hint)
    assert empty.read_text() == ""


def test_following_the_hint_makes_the_host_known(sshd: Sshd, tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    with pytest.raises(HostKeyMismatch) as caught:
        connect(sshd.host(ssh_options=_options(sshd, file)))
    command = str(caught.value.hint).partition("then: ")[2]
    subprocess.run(["sh", "-c", command], timeout=30, check=True, capture_output=True)
    shell = connect(sshd.host(ssh_options=_options(sshd, file)))
    assert shell.run(["echo", "in"], timeout_s=30).text == "in\n"
    shell.close()


def test_another_host_key_than_we_knew_is_refused_even_with_accept_new(sshd: Sshd, tmp_path: Path) -> None:
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], timeout=30, check=True)
    file = tmp_path / "known_hosts"
    file.write_text(f"[127.0.0.1]:{sshd.port} {other.with_suffix('.pub').read_text()}")
    options = _options(sshd, file, ("StrictHostKeyChecking", "accept-new"))
    with pytest.raises(HostKeyMismatch, match="another host key") as caught:
        connect(sshd.host(ssh_options=options))
    assert f"ssh-keygen -R '[127.0.0.1]:{sshd.port}' -f {file}" in str(caught.value.hint)


def test_accept_new_is_honoured_where_the_user_says_so_and_noted(sshd: Sshd, tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    connect(sshd.host(ssh_options=_options(sshd, file, ("StrictHostKeyChecking", "accept-new")))).close()
    assert file.read_text() == f"[127.0.0.1]:{sshd.port} {sshd.host_key}\n"
    connect(sshd.host(ssh_options=_options(sshd, file))).close()


def test_a_hashed_known_hosts_file_is_read(sshd: Sshd, tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(sshd.known_hosts.read_text())
    subprocess.run(["ssh-keygen", "-H", "-f", str(file)], timeout=30, check=True, capture_output=True)
    assert "127.0.0.1" not in file.read_text()
    connect(sshd.host(ssh_options=_options(sshd, file))).close()


def test_a_port_where_nothing_listens_is_unreachable() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(HostUnreachable, match=f"nothing listens at 127.0.0.1 port {port}") as caught:
        connect(Host("box", "127.0.0.1", port=port))
    assert caught.value.where == "box" and "sshd" in str(caught.value.hint)


def test_a_server_that_says_nothing_is_given_up() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as mute,
        pytest.raises(HostUnreachable, match="no ssh handshake"),
    ):
        connect(Host("box", "127.0.0.1", port=mute.getsockname()[1]), timeout_s=0.5)


def test_a_name_that_nobody_knows_is_told() -> None:
    with pytest.raises(HostUnreachable, match=r"no-such-host\.invalid is not known"):
        connect(Host("box", "no-such-host.invalid"))


def test_a_refused_login_says_what_was_tried(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    stranger = tmp_path / "stranger"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(stranger)], timeout=30, check=True
    )
    with pytest.raises(HostUnreachable, match="refused the login") as caught:
        connect(sshd.host(private_key=stranger))
    assert str(stranger) in str(caught.value)
    assert "ssh-add" in str(caught.value.hint)


def test_a_key_with_a_passphrase_is_named(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    locked = tmp_path / "locked"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "long one", "-f", str(locked)], timeout=30, check=True
    )
    with pytest.raises(HostUnreachable, match="has a passphrase"):
        connect(sshd.host(private_key=locked))


def test_a_key_in_the_agent_opens_the_door(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    try:
        wait_until(path.exists, "the agent")
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        subprocess.run(["ssh-add", "-q", str(sshd.key)], timeout=30, check=True, capture_output=True)
        shell = connect(sshd.host(private_key=None))
        assert shell.run(["echo", "in"], timeout_s=30).text == "in\n"
        shell.close()
    finally:
        agent.kill()
        agent.wait(timeout=10)


def test_the_users_ssh_config_counts(sshd: Sshd, tmp_path: Path) -> None:
    host = sshd.host()
    config = _write_config(
        sshd,
        tmp_path,
        f"Host nick\n  HostName 127.0.0.1\n  Port {sshd.port}\n  User {host.user}\n"
        f"  IdentityFile {sshd.key}\n  UserKnownHostsFile {sshd.known_hosts}\n",
    )
    shell = connect(Host("box", "nick", ssh_options=(("ConfigFile", str(config)),)))
    assert shell.run(["echo", "in"], timeout_s=30).text == "in\n"
    shell.close()


def test_an_ssh_config_that_ssh_refuses_is_a_usage_error(sshd: Sshd, tmp_path: Path) -> None:
    config = _write_config(sshd, tmp_path, "NoSuchSetting yes\n")
    with pytest.raises(UsageError, match=r"(?i)nosuchsetting"):
        connect(Host("box", "127.0.0.1", ssh_options=(("ConfigFile", str(config)),)))


@pytest.fixture
def lonely_sshd(tmp_path: Path) -> Iterator[Sshd]:
    """Return an sshd whose connections are this test's alone."""
    with running_sshd(tmp_path / "sshd") as server:
        yield server


def test_jump_hosts_are_gone_through(lonely_sshd: Sshd, tmp_path: Path) -> None:
    sshd = lonely_sshd
    known = tmp_path / "known_hosts"
    # ssh refuses a host that is its own jump host, so the last one goes by another name.
    known.write_text(f"[127.0.0.1]:{sshd.port},[localhost]:{sshd.port} {sshd.host_key}\n")
    config = _write_config(
        sshd,
        tmp_path,
        f"IdentityFile {sshd.key}\nUser {sshd.host().user}\nUserKnownHostsFile {known}\n"
        f"Host hop\n  HostName 127.0.0.1\n  Port {sshd.port}\n",
    )
    wait_until(lambda: not sshd.connections(), "earlier connections to end")
    options = (("ConfigFile", str(config)), ("ProxyJump", f"hop,{sshd.host().user}@127.0.0.1:{sshd.port}"))
    shell = connect(Host("box", "localhost", port=sshd.port, ssh_options=options))
    assert shell.run(["echo", "behind"], timeout_s=30).text == "behind\n"
    assert len(sshd.connections()) == 3
    shell.close()
    wait_until(lambda: not sshd.connections(), "the connections to end")


def test_a_jump_host_that_cannot_reach_the_host_says_so(sshd: Sshd, tmp_path: Path) -> None:
    config = _write_config(
        sshd,
        tmp_path,
        f"IdentityFile {sshd.key}\nUserKnownHostsFile {sshd.known_hosts}\n"
        f"Host far\n  ProxyJump {sshd.host().user}@127.0.0.1:{sshd.port}\n  HostName 127.0.0.1\n  Port 1\n",
    )
    with pytest.raises(HostUnreachable, match="jump host cannot reach"):
        connect(Host("box", "far", ssh_options=(("ConfigFile", str(config)),)))


def test_a_proxy_command_is_gone_through(sshd: Sshd, tmp_path: Path) -> None:
    relay = tmp_path / "relay.py"
    relay.write_text(
        "import os, socket, sys, threading\n"
        "s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "def up():\n"
        "    while data := os.read(0, 65536): s.sendall(data)\n"
        "threading.Thread(target=up, daemon=True).start()\n"
        "while data := s.recv(65536): os.write(1, data)\n"
    )
    command = f"{sys.executable} {relay} %h %p"
    shell = connect(sshd.host(ssh_options=_options(sshd, sshd.known_hosts, ("ProxyCommand", command))))
    assert shell.run(["echo", "through"], timeout_s=30).text == "through\n"
    shell.close()
    wait_until(lambda: not with_argument(str(relay)), "the relay to end")


def test_a_proxy_command_that_passes_a_socket_is_gone_through(sshd: Sshd, tmp_path: Path) -> None:
    script = tmp_path / "pass.py"
    script.write_text(
        "import socket, sys\n"
        "there = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "with socket.socket(fileno=1) as out: socket.send_fds(out, [b'x'], [there.fileno()])\n"
    )
    for command, is_passed in ((f"{sys.executable} {script} %h %p", True), ("true", False)):
        more = (("ProxyCommand", command), ("ProxyUseFdpass", "yes"))
        host = sshd.host(ssh_options=_options(sshd, sshd.known_hosts, *more))
        if is_passed:
            shell = connect(host)
            assert shell.run(["echo", "through"], timeout_s=30).text == "through\n"
            shell.close()
        else:
            with pytest.raises(HostUnreachable, match="passed no socket"):
                connect(host)


def test_a_lost_connection_is_told_and_the_next_command_dials_again(sshd: Sshd) -> None:
    shell = connect(sshd.host())
    seconds = unique_seconds()
    caught: list[BaseException] = []

    def run() -> None:
        try:
            shell.run(["sleep", seconds], timeout_s=60)
        except HostUnreachable as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: with_argument(seconds), "the command")
    sshd.drop_connections()
    thread.join(timeout=30)
    assert "connection was lost" in str(caught[0])
    assert shell.run(["echo", "again"], timeout_s=30).text == "again\n"
    shell.close()
    for pid in with_argument(seconds):
        subprocess.run(["kill", str(pid)], timeout=10, check=False)


def test_the_end_of_input_never_follows_the_end_of_the_command(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = paramiko.Transport._send_user_message  # type: ignore[attr-defined]

    def send_late(transport: paramiko.Transport, message: paramiko.Message) -> None:
        if (
            message.asbytes()[:1] == cMSG_CHANNEL_EOF
            and threading.current_thread() is threading.main_thread()
        ):
            # As on a busy machine: meanwhile the command ends, and its channel is closed if nothing holds it.
            of_channel = int.from_bytes(message.asbytes()[1:5], "big")
            for channel in transport._channels.values():  # type: ignore[attr-defined]
                if channel.remote_chanid == of_channel and not channel.lock.locked():
                    wait_until(partial(getattr, channel, "closed"), "the end of the command")
        send(transport, message)

    monkeypatch.setattr(paramiko.Transport, "_send_user_message", send_late)
    shell = connect(sshd.host())
    assert isinstance(shell, SshShell)
    connection = shell._connection
    for _ in range(2):
        assert shell.run(["echo", "fine"], timeout_s=30).text == "fine\n"
    assert shell._connection is connection and connection.transport.is_active()
    shell.close()


def test_a_closed_shell_stays_closed(sshd: Sshd) -> None:
    shell = connect(sshd.host())
    shell.close()
    with pytest.raises(HostUnreachable):
        shell.run(["true"], timeout_s=10)


def test_what_login_scripts_say_is_not_taken_for_output(sshd: Sshd, root: str) -> None:
    # bash reads ~/.bashrc for commands over ssh; here the same noise comes from a forced command.
    keys = sshd.folder / "authorized_keys"
    before = keys.read_text()
    noise = 'echo hello from rc; echo rc warns >&2; eval \\"$SSH_ORIGINAL_COMMAND\\"'
    keys.write_text(f'command="{noise}" {before}')
    try:
        shell = connect(sshd.host())
        done = shell.run(["sh", "-c", "echo out; echo err >&2"], timeout_s=30)
        assert (done.stdout, done.stderr) == (b"out\n", b"err\n")
        stream = shell.stream(["cat"])
        stream.write(b"a line\n")
        assert stream.read_line(timeout_s=30) == b"a line\n"
        stream.close()
        assert_jobs_run(shell, root)
        shell.close()
    finally:
        keys.write_text(before)


# ---- login shells ------------------------------------------------------------------------------------------

# tcsh, fish and busybox are installed for the tests; others are tried where they are.
_LOGIN_SHELLS = [
    *("/bin/sh", "/bin/bash", "/bin/bash -r", "/usr/bin/tcsh", "/usr/bin/fish", "busybox ash"),
    *(path for name in ("bsd-csh", "zsh", "ksh", "mksh") if (path := shutil.which(name))),
]
_ODD = [
    "a\nb",
    "it's",
    'a"b',
    "\\",
    "a\\",
    "!!",
    "`x`",
    "$HOME",
    "*",
    "~",
    "",
    "é\udcff",
    "\t",
    "%s%n",
    "{a,b}",
]


@pytest.mark.parametrize("login_shell", _LOGIN_SHELLS)
def test_any_login_shell_runs_commands(sshd: Sshd, login_shell: str, root: str) -> None:
    with sshd.login_shell(login_shell):
        shell = connect(sshd.host())
        done = shell.run(["printf", "%s\\0", *_ODD], timeout_s=30)
        assert done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1] == _ODD
        done = shell.run(["sh", "-c", "cat; echo err >&2; exit 7"], timeout_s=30, stdin=b"in")
        assert (done.stdout, done.stderr, done.exit_code) == (b"in", b"err\n", 7)
        assert shell.run(["sh", "-c", "kill -9 $$"], timeout_s=30).exit_code == 137
        fingerprint = facts.read_host(shell)
        assert {fact.name for fact in fingerprint.facts} == {spec.name for spec in facts.REGISTRY}
        assert facts.value_of(fingerprint, "kernel.release", str) == os.uname().release
        assert facts.value_of(facts.read_inside(shell), "kernel.release", str) == os.uname().release
        stream = shell.stream(["cat"])
        stream.write(b"a line\n")
        assert stream.read_line(timeout_s=30) == b"a line\n"
        stream.close()
        seconds = unique_seconds()
        with pytest.raises(CommandTimeout):
            shell.run(["sleep", seconds], timeout_s=0.5)
        wait_until(lambda: not with_argument(seconds), "the command to end")
        assert_jobs_run(shell, root)
        shell.close()


def assert_jobs_run(shell: Transport, root: str) -> None:
    """Run a job on the channel that started the agent, and one on another channel."""
    jobs = JobShell.start(shell, RUN, lifetime_s=600, spool_root=root)
    server = jobs.spawn(["sleep", "60"])
    assert jobs.run(["printf", "%s\\0", *_ODD], timeout_s=30).stdout.count(b"\0") == len(_ODD)
    jobs._drop_idle()
    assert jobs.run(["sh", "-c", "cat; exit 7"], timeout_s=30, stdin=b"in").exit_code == 7
    server.stop()
    jobs.stop()


@pytest.mark.parametrize(
    ("login_shell", "words"),
    [
        ("/usr/sbin/nologin", "This account is currently not available"),
        ("/bin/false", "no output"),
        ("/usr/bin/env PATH=/nowhere /bin/bash -r", ", /usr/bin/env, .* sh: command not found"),
    ],
)
def test_a_login_shell_that_runs_nothing_is_named(sshd: Sshd, login_shell: str, words: str) -> None:
    with sshd.login_shell(login_shell):
        for start in ("run", "stream"):
            shell = connect(sshd.host())
            with pytest.raises(HostUnreachable, match="login shell of") as caught:
                shell.run(["true"], timeout_s=30) if start == "run" else shell.stream(["cat"])
            assert re.search(words, caught.value.message) and caught.value.where == "box"
            assert "chsh" in str(caught.value.hint)
            shell.close()


def test_a_sudo_that_wants_a_terminal_is_refused_with_its_own_hint(sshd: Sshd, tmp_path: Path) -> None:
    program = tmp_path / "sudo"
    program.write_text("#!/bin/sh\necho 'sudo: sorry, you must have a tty to run sudo' >&2\nexit 1\n")
    program.chmod(0o755)
    with sshd.login_shell(f"/usr/bin/env PATH={tmp_path}:{os.environ['PATH']} sh"):
        shell = SshShell(settings_for(sshd.host()), Elevation(become=True), timeout_s=10)
        for start in (lambda: shell.run(["true"], timeout_s=30), lambda: shell.stream(["cat"])):
            with pytest.raises(Refused, match="must have a tty") as caught:
                start()
            assert "!requiretty" in str(caught.value.hint) and caught.value.exit_code == 7
        shell.close()


def test_a_run_on_one_host_whose_sudo_refuses_has_the_exit_code_of_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "sudo"
    program.write_text("#!/bin/sh\necho 'sudo: sorry, you must have a tty to run sudo' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    host = Host("here", "localhost", connection="local", become=True)
    with pytest.raises(Refused, match="must have a tty") as caught, Fleet([host], RUN, lifetime_s=60):
        pass
    assert caught.value.exit_code == 7 and "!requiretty" in str(caught.value.hint)


# ---- names and keys as ssh has them ------------------------------------------------------------------------


def test_a_key_named_by_tokens_and_variables_logs_in(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setenv("PERFCTL_TEST_KEYS", str(tmp_path))
    shutil.copy(sshd.key, tmp_path / f"127.0.0.1-{sshd.port}-{sshd.host().user}")
    shutil.copy(sshd.known_hosts, tmp_path / "known-nick")
    config = _write_config(
        sshd,
        tmp_path,
        f"Host nick\n  HostName 127.0.0.1\n  Port {sshd.port}\n  User {sshd.host().user}\n"
        "  IdentityFile ${PERFCTL_TEST_KEYS}/%h-%p-%r\n  UserKnownHostsFile ${PERFCTL_TEST_KEYS}/known-%n\n",
    )
    shell = connect(Host("box", "nick", ssh_options=(("ConfigFile", str(config)),)))
    assert shell.run(["echo", "in"], timeout_s=30).text == "in\n"
    shell.close()


@pytest.mark.parametrize("is_named", [True, False])
@pytest.mark.parametrize("key_type", ["ed25519", "rsa", "ecdsa"])
def test_a_certificate_logs_in(sshd: Sshd, tmp_path: Path, key_type: str, is_named: bool) -> None:
    for name, of_type in (("ca", "ed25519"), ("own", key_type)):
        path = str(tmp_path / name)
        subprocess.run(["ssh-keygen", "-q", "-t", of_type, "-N", "", "-f", path], timeout=60, check=True)
    user = str(sshd.host().user)
    sign = ["ssh-keygen", "-q", "-s", str(tmp_path / "ca"), "-I", "us", "-n", user, str(tmp_path / "own.pub")]
    subprocess.run(sign, timeout=30, check=True)
    options = _options(sshd, sshd.known_hosts)
    if is_named:
        (tmp_path / "own-cert.pub").rename(tmp_path / f"of-{user}")
        options = (*options, ("CertificateFile", f"{tmp_path}/of-%r"))
    trusted = sshd.folder / "trusted_keys"
    trusted.write_text((tmp_path / "ca.pub").read_text())
    try:
        connect(sshd.host(private_key=tmp_path / "own", ssh_options=options)).close()
    finally:
        trusted.write_text("")


def test_the_agent_of_identity_agent_is_used(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "agent of ours"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    try:
        wait_until(path.exists, "the agent")
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        subprocess.run(["ssh-add", "-q", str(sshd.key)], timeout=30, check=True, capture_output=True)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "nobody"))
        options = _options(sshd, sshd.known_hosts, ("IdentityAgent", f'"{tmp_path}/agent of ours"'))
        connect(sshd.host(private_key=None, ssh_options=options)).close()
    finally:
        agent.kill()
        agent.wait(timeout=10)


def test_following_the_hint_makes_a_host_with_an_alias_known(sshd: Sshd, tmp_path: Path) -> None:
    file = tmp_path / "known hosts"
    options = (
        ("ConfigFile", str(sshd.config_file)),
        ("UserKnownHostsFile", f'"{file}"'),
        ("HostKeyAlias", "the-boxes"),
    )
    file.touch()
    with pytest.raises(HostKeyMismatch) as caught:
        connect(sshd.host(ssh_options=options))
    command = str(caught.value.hint).partition("then: ")[2]
    subprocess.run(["sh", "-c", command], timeout=30, check=True, capture_output=True)
    connect(sshd.host(ssh_options=options)).close()


# ---- many hosts behind one server --------------------------------------------------------------------------


def test_many_hosts_behind_one_jump_host_are_all_reached(sshd: Sshd, tmp_path: Path) -> None:
    # Beyond ten logins at a time this one turns everybody away.
    with running_sshd(tmp_path / "jump", max_startups="10:100:11") as jump:
        known = tmp_path / "known_hosts"
        known.write_text(jump.known_hosts.read_text() + sshd.known_hosts.read_text())
        config = _write_config(
            sshd,
            tmp_path,
            f"UserKnownHostsFile {known}\nIdentityFile {sshd.key}\nIdentityFile {jump.key}\n"
            f"Host jump\n  HostName 127.0.0.1\n  Port {jump.port}\n",
        )
        options = (("ConfigFile", str(config)), ("ProxyJump", "jump"))
        with ThreadPoolExecutor(39) as pool:
            hosts = [sshd.host(f"box{number}", ssh_options=options) for number in range(39)]
            shells = list(pool.map(connect, hosts))
        assert shells[38].run(["echo", "behind"], timeout_s=30).text == "behind\n"
        for shell in shells:
            shell.close()


@pytest.mark.parametrize("turned_away", [1, 3])
def test_who_is_turned_away_tries_again(
    sshd: Sshd, turned_away: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perfctl.ssh.dial._PAUSES_S", (0.01, 0.02, 0.03))
    with turning_away(sshd.port, turned_away) as port:
        sshd_there = (("StrictHostKeyChecking", "no"), ("UserKnownHostsFile", "/dev/null"))
        host = sshd.host(port=port, ssh_options=(("ConfigFile", str(sshd.config_file)), *sshd_there))
        connect(host).close()


def test_who_is_turned_away_too_often_gives_up(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perfctl.ssh.dial._PAUSES_S", (0.01, 0.01))
    with (
        turning_away(sshd.port, 3) as port,
        pytest.raises(HostUnreachable, match="no ssh handshake"),
    ):
        connect(sshd.host(port=port))


@contextmanager
def turning_away(port: int, times: int) -> Iterator[int]:
    """Listen as an sshd that turns the first logins away and hands on the next one; return its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            # Where nobody comes any more, the socket is closed while it waits.
            with contextlib.suppress(OSError):
                for _ in range(times):
                    server.accept()[0].close()
                with server.accept()[0] as client, socket.create_connection(("127.0.0.1", port)) as there:
                    threading.Thread(target=_pump, args=(client, there), daemon=True).start()
                    _pump(there, client)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)


def test_an_idle_connection_carries_no_bytes(sshd: Sshd) -> None:
    shell = connect(sshd.host())
    assert isinstance(shell, SshShell)
    shell.run(["true"], timeout_s=30)
    time.sleep(0.3)
    before = shell.traffic_bytes()
    time.sleep(1)
    assert shell.traffic_bytes() == before
    assert before[0] > 0 and before[1] > 0
    shell.close()


def test_a_command_that_begins_after_its_time_is_up_is_ended(
    sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on a busy host: the time is up before anything that the host has said is read.
    until_end, looks, seconds = _Running.until_end, [], unique_seconds()

    def too_late_at_first(running: _Running, deadline: float) -> bool:
        looks.append(deadline)
        if len(looks) > 1:
            return until_end(running, deadline)
        running.feed()
        wait_until(lambda: with_argument(seconds), "the command to begin")
        return False

    monkeypatch.setattr(_Running, "until_end", too_late_at_first)
    shell = connect(sshd.host())
    try:
        with pytest.raises(CommandTimeout):
            shell.run(["sleep", seconds], timeout_s=30)
        assert with_argument(seconds) == []
    finally:
        shell.close()
