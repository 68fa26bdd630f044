"""What ssh's own settings mean to us, and whether a host key is the one we knew."""

from __future__ import annotations

import base64
import getpass
import os
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from perfctl.errors import HostKeyMismatch, HostUnreachable, UsageError
from perfctl.model import Host
from perfctl.ssh.config import SshSettings, parse_settings, settings_for, split_jumps
from perfctl.ssh.dial import dial
from perfctl.ssh.known_hosts import (
    KeyState,
    check_host_key,
    find_key,
    known_key_types,
    read_entries,
    sha256_fingerprint,
)

_KEY = base64.b64decode("AAAAC3NzaC1lZDI1NTE5AAAAIFWX/Wtix0klZ4vUwuWMMjxP4aWFXDyZqpRWAusTldon")
_OTHER = base64.b64decode("AAAAC3NzaC1lZDI1NTE5AAAAIAAX/Wtix0klZ4vUwuWMMjxP4aWFXDyZqpRWAusTldon")
_TYPE = "ssh-ed25519"
_TEXT = base64.b64encode(_KEY).decode()


def settings(host: Host, tmp_path: Path, text: str = "") -> SshSettings:
    """Return what ssh says of a host under this ssh_config alone."""
    config = tmp_path / "ssh_config"
    config.write_text(text)
    return settings_for(
        Host(
            **{f: getattr(host, f) for f in host.__dataclass_fields__}
            | {"ssh_options": (("ConfigFile", str(config)), *host.ssh_options)}
        )
    )


# ---- settings ----------------------------------------------------------------------------------------------


def test_the_inventory_is_handed_to_ssh(tmp_path: Path) -> None:
    key = tmp_path / "id"
    key.touch()
    host = Host("h1", "10.0.0.1", port=2222, user="ann", private_key=key)
    found = settings(host, tmp_path)
    assert (found.name, found.hostname, found.port, found.user) == ("h1", "10.0.0.1", 2222, "ann")
    assert found.identity_files == (key,)
    assert found.strict == "yes"
    assert found.known_as == "[10.0.0.1]:2222"


def test_a_key_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"h1: its private key .*absent does not exist"):
        settings(Host("h1", "10.0.0.1", private_key=tmp_path / "absent"), tmp_path)


def test_the_users_config_fills_in_the_rest(tmp_path: Path) -> None:
    text = (
        "Host box\n  HostName box.example.org\n  User bob\n  Port 99\n  HostKeyAlias boxes\n"
        "  UserKnownHostsFile /a/known /b/known\n  StrictHostKeyChecking accept-new\n  IdentitiesOnly yes\n"
        "  IdentityFile ~/.ssh/%r-key\n"
    )
    found = settings(Host("h1", "box"), tmp_path, text)
    assert (found.hostname, found.user, found.port, found.strict) == (
        "box.example.org",
        "bob",
        99,
        "accept-new",
    )
    assert found.user_known_hosts == (Path("/a/known"), Path("/b/known"))
    assert found.identities_only and found.known_as == "boxes"
    assert found.identity_files == (Path.home() / ".ssh" / "bob-key",)


@pytest.mark.parametrize(("value", "strict"), [("no", "no"), ("off", "no"), ("ask", "yes"), ("yes", "yes")])
def test_strictness_is_the_users(tmp_path: Path, value: str, strict: str) -> None:
    assert (
        settings(Host("h", "h", ssh_options=(("StrictHostKeyChecking", value),)), tmp_path).strict == strict
    )


def test_a_known_hosts_path_with_a_blank_is_one_file(tmp_path: Path) -> None:
    file = tmp_path / "known hosts"
    file.touch()
    assert settings(
        Host("h", "h", ssh_options=(("UserKnownHostsFile", f'"{file}"'),)), tmp_path
    ).user_known_hosts == (file,)


def test_jump_hosts_read_their_own_settings(tmp_path: Path) -> None:
    text = (
        "Host inner\n  ProxyJump outer\n  User in\n"
        "Host outer\n  HostName out.example\n  Port 23\n"
        "Host far\n  ProxyJump inner\n"
    )
    found = settings(Host("h1", "far"), tmp_path, text)
    assert [(jump.hostname, jump.port) for jump in found.jumps] == [("out.example", 23), ("inner", 22)]
    assert found.jumps[1].user == "in"


def test_a_proxy_command_is_kept_as_it_is(tmp_path: Path) -> None:
    found = settings(Host("h", "h", ssh_options=(("ProxyCommand", "nc -X 5 %h %p"),)), tmp_path)
    assert found.proxy_command == "nc -X 5 %h %p"
    assert settings(Host("h", "h", ssh_options=(("ProxyCommand", "none"),)), tmp_path).proxy_command is None


def test_jumps_in_a_circle_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"circle|loop"):
        settings(Host("h", "a"), tmp_path, "Host a\n  ProxyJump b\nHost b\n  ProxyJump a\n")


def test_a_host_name_cannot_be_an_option(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        settings(Host("h", "-oProxyCommand=touch /tmp/x"), tmp_path)


@pytest.mark.parametrize(
    ("value", "hops"),
    [
        ("a", [("a", [])]),
        ("u@a:22,b", [("a", ["-l", "u", "-p", "22"]), ("b", [])]),
        ("ssh://u@a:1", [("a", ["-l", "u", "-p", "1"])]),
        ("u@[fe80::1]:5", [("fe80::1", ["-l", "u", "-p", "5"])]),
        ("fe80::1", [("fe80::1", [])]),
    ],
)
def test_jumps_are_split(value: str, hops: list[tuple[str, list[str]]]) -> None:
    assert split_jumps(value) == hops


def test_the_password_of_the_inventory_is_not_shown(tmp_path: Path) -> None:
    found = settings(Host("h", "h", variables={"ansible_password": "s3cret"}), tmp_path)
    assert found.password == "s3cret" and "s3cret" not in repr(found)


@pytest.mark.parametrize(
    ("value", "socket"),
    [
        ("", "/from/environment"),
        ("SSH_AUTH_SOCK", "/from/environment"),
        ("none", None),
        ("/its/own", "/its/own"),
        ("$OTHER_AGENT", "/the/other"),
        ("${OTHER_AGENT}", "/the/other"),
        ("$NO_SUCH_AGENT", None),
    ],
)
def test_the_agent_is_the_one_that_is_named(
    value: str, socket: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/from/environment")
    monkeypatch.setenv("OTHER_AGENT", "/the/other")
    text = f"hostname h\nuser u\nport 22\nidentityagent {value}\n"
    assert parse_settings("h", text).agent == socket


# ---- tokens ------------------------------------------------------------------------------------------------

_TOKENS = "Host nick\n  HostName box.example\n  Port 99\n  User ann\n  HostKeyAlias boxes\n"


@pytest.mark.parametrize("option", ["IdentityFile", "CertificateFile", "UserKnownHostsFile"])
@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("/k/%h-%p-%r-%n-%%r", "/k/box.example-99-ann-nick-%r"),
        ("/k/%k", "/k/boxes"),
        ("%d/k", str(Path.home() / "k")),
        ("~/%u-%i", str(Path.home() / f"{getpass.getuser()}-{os.getuid()}")),
        ("/k/%L", f"/k/{socket.gethostname().partition('.')[0]}"),
        ("/k/%l/%C/x", None),
        ("${PERFCTL_KEYS}/${PERFCTL_KEYS}x", "/the/keys//the/keysx"),
        ("${PERFCTL_PERCENT}", "/a%r"),
        ("/plain%%file", "/plain%file"),
    ],
)
def test_every_token_means_what_it_means_to_ssh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, template: str, path: str | None
) -> None:
    monkeypatch.setenv("PERFCTL_KEYS", "/the/keys")
    monkeypatch.setenv("PERFCTL_PERCENT", "/a%r")
    found = settings(Host("h1", "nick"), tmp_path, f"{_TOKENS}  {option} {template}\n")
    read = {
        "IdentityFile": found.identity_files,
        "CertificateFile": found.certificate_files,
        "UserKnownHostsFile": found.user_known_hosts,
    }[option]
    if path is None:
        assert len(read[0].parts[-2]) == 40 and "%" not in str(read[0])
    else:
        assert [str(each) for each in read] == [str(Path(path))]


def test_tokens_of_the_inventorys_own_key_are_filled_in_as_ansible_has_them(tmp_path: Path) -> None:
    (tmp_path / "key of ann-box").touch()
    host = Host("h1", "box", user="ann", private_key=tmp_path / "key of %r-%h")  # with blanks
    assert settings(host, tmp_path).identity_files == (tmp_path / "key of ann-box",)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("IdentityFile /k/%Z", "%Z"),
        ("IdentityFile ${PERFCTL_NO_SUCH_VARIABLE}/k", "PERFCTL_NO_SUCH_VARIABLE"),
        ("IdentityFile ~no-such-user/k", "no-such-user"),
    ],
)
def test_what_ssh_cannot_fill_in_is_told(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        settings(Host("h1", "box"), tmp_path, f"{line}\n")
    assert caught.value.where == "h1" and "terminal" not in caught.value.message


def test_a_proxy_command_has_its_own_tokens(tmp_path: Path) -> None:
    found = settings(
        Host("h1", "nick"), tmp_path, f"{_TOKENS}  ProxyCommand nc %h %p %r %n %k %%h $X ${{X}}\n"
    )
    assert found.proxy_command is not None
    expanded = found.expand(found.proxy_command, "ProxyCommand")
    assert expanded == "nc box.example 99 ann nick boxes %h $X ${X}"
    with pytest.raises(UsageError, match="ProxyCommand has no token '%d'"):
        found.expand("nc %d", "ProxyCommand")


def test_jump_hosts_are_named_by_tokens(tmp_path: Path) -> None:
    text = f"{_TOKENS}  ProxyJump %r@gw-of-%n:23,%h\n"
    found = settings(Host("h1", "nick"), tmp_path, text)
    assert [(jump.hostname, jump.port) for jump in found.jumps] == [("gw-of-nick", 23), ("box.example", 22)]
    assert found.jumps[0].user == "ann"


@pytest.mark.parametrize(
    ("address", "user"),
    [
        ("$(touch FILE)", None),
        ("a;touch FILE", None),
        ("a`touch FILE`", None),
        ("a\ntouch FILE", None),
        ("-oProxyCommand=touch FILE", None),
        ("a\0b", None),
        ("box", "a;touch FILE"),
        ("box", "x -oProxyCommand=touch FILE"),
    ],
)
def test_no_name_reaches_a_shell(tmp_path: Path, address: str, user: str | None) -> None:
    mark = tmp_path / "executed"
    address, user = address.replace("FILE", str(mark)), user and user.replace("FILE", str(mark))
    text = 'Match exec "true %h %n %r"\n  Port 23\nHost *\n  ProxyCommand true %h %r\n'
    with pytest.raises((UsageError, HostUnreachable)) as caught:
        dial(settings(Host("h1", address, user=user), tmp_path, text), 2)
    assert isinstance(caught.value, UsageError) and caught.value.where == "h1"
    assert not mark.exists()


def test_bytes_that_are_no_utf8_are_kept(tmp_path: Path) -> None:
    config = tmp_path / "ssh_config"
    config.write_bytes(b"IdentityFile /k\xe9y\nHostKeyAlias caf\xe9\n")
    found = settings_for(Host("h1", "box", ssh_options=(("ConfigFile", str(config)),)))
    assert os.fsencode(found.identity_files[0]) == b"/k\xe9y"


# ---- known hosts -------------------------------------------------------------------------------------------


def state(tmp_path: Path, text: str, host: str = "box", key: bytes = _KEY) -> KeyState:
    """Return what a known_hosts file says about a key."""
    file = tmp_path / "known_hosts"
    file.write_text(text)
    return find_key(read_entries([file]), host, _TYPE, key)[0]


@pytest.mark.parametrize(
    "text",
    [
        f"box {_TYPE} {_TEXT}",
        f"other,box,10.0.0.1 {_TYPE} {_TEXT} a comment",
        f"# a comment\n\nb?x {_TYPE} {_TEXT}",
        f"BOX {_TYPE} {_TEXT}",
        f"*,!other {_TYPE} {_TEXT}",
        f"garbage\nbox {_TYPE} not-base64!\nbox {_TYPE} {_TEXT}",
    ],
)
def test_a_key_that_is_listed_is_known(tmp_path: Path, text: str) -> None:
    assert state(tmp_path, text) is KeyState.KNOWN


@pytest.mark.parametrize(
    "text", ["", f"other {_TYPE} {_TEXT}", f"*,!box {_TYPE} {_TEXT}", f"[box]:22 {_TYPE} {_TEXT}"]
)
def test_a_host_that_is_not_listed_is_unknown(tmp_path: Path, text: str) -> None:
    assert state(tmp_path, text) is KeyState.UNKNOWN


def test_another_key_is_a_change(tmp_path: Path) -> None:
    assert state(tmp_path, f"box {_TYPE} {_TEXT}", key=_OTHER) is KeyState.CHANGED
    assert state(tmp_path, f"box ssh-rsa {_TEXT}", key=_OTHER) is KeyState.CHANGED


def test_a_revoked_key_is_revoked_wherever_else_it_is_listed(tmp_path: Path) -> None:
    assert state(tmp_path, f"box {_TYPE} {_TEXT}\n@revoked * {_TYPE} {_TEXT}") is KeyState.REVOKED


def test_a_certificate_authority_is_no_host_key(tmp_path: Path) -> None:
    assert state(tmp_path, f"@cert-authority * {_TYPE} {_TEXT}") is KeyState.UNKNOWN


def test_brackets_are_no_pattern(tmp_path: Path) -> None:
    assert state(tmp_path, f"[box]:2222 {_TYPE} {_TEXT}", host="[box]:2222") is KeyState.KNOWN
    assert state(tmp_path, f"[box]:2222 {_TYPE} {_TEXT}", host="b:2222") is KeyState.UNKNOWN


def test_a_hashed_line_is_matched(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"[box]:2222 {_TYPE} {_TEXT}\n")
    subprocess.run(["ssh-keygen", "-H", "-f", str(file)], capture_output=True, timeout=30, check=True)
    entries = read_entries([file])
    assert find_key(entries, "[box]:2222", _TYPE, _KEY)[0] is KeyState.KNOWN
    assert find_key(entries, "box", _TYPE, _KEY)[0] is KeyState.UNKNOWN


def test_the_types_we_know_are_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"box ssh-rsa {_TEXT}\nother {_TYPE} {_TEXT}\n")
    assert known_key_types(SshSettings("h", "box", 22, "u", user_known_hosts=(file,))) == ["ssh-rsa"]


def test_the_fingerprint_is_ssh_keygens(tmp_path: Path) -> None:
    file = tmp_path / "key.pub"
    file.write_text(f"{_TYPE} {_TEXT}\n")
    said = subprocess.run(
        ["ssh-keygen", "-lf", str(file)], capture_output=True, text=True, timeout=30, check=True
    )
    assert sha256_fingerprint(_KEY) in said.stdout.split()


def _refused_unknown(tmp_path: Path, **changes: object) -> HostKeyMismatch:
    known = SshSettings("h", "box", 2222, "u", user_known_hosts=(tmp_path / "known hosts",))
    with pytest.raises(HostKeyMismatch) as caught:
        check_host_key(replace(known, **changes), _TYPE, _KEY)  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize(
    "changes",
    [
        {"host_key_alias": "Boxes"},
        {"jumps": (SshSettings("h (jump host x)", "x", 22, "u"),)},
        {"proxy_command": "nc %h %p"},
    ],
)
def test_the_command_of_the_hint_lists_the_host_under_the_name_it_is_looked_for(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    known = SshSettings("h", "box", 2222, "u", user_known_hosts=(tmp_path / "known hosts",))
    command = str(_refused_unknown(tmp_path, **changes).hint).partition("then: ")[2]
    subprocess.run(["sh", "-c", command], timeout=30, check=True)
    check_host_key(replace(known, **changes), _TYPE, _KEY)  # type: ignore[arg-type]


def test_the_command_of_the_hint_replaces_the_key_of_an_alias(tmp_path: Path) -> None:
    file = tmp_path / "known hosts"
    file.write_text(f"boxes {_TYPE} {base64.b64encode(_OTHER).decode()}\n")
    aliased = SshSettings("h", "box", 22, "u", host_key_alias="boxes", user_known_hosts=(file,))
    with pytest.raises(HostKeyMismatch) as caught:
        check_host_key(aliased, _TYPE, _KEY)
    command = str(caught.value.hint).partition("machine: ")[2]
    subprocess.run(["sh", "-c", command], timeout=30, check=True, capture_output=True)
    check_host_key(aliased, _TYPE, _KEY)


@pytest.mark.parametrize("files", [(), (Path("/dev/null"),)])
def test_where_no_file_could_list_a_key_the_hint_says_so(tmp_path: Path, files: tuple[Path, ...]) -> None:
    hint = str(_refused_unknown(tmp_path, user_known_hosts=files).hint)
    assert "UserKnownHostsFile" in hint and ">>" not in hint


@pytest.mark.parametrize("strict", ["yes", "accept-new"])
def test_a_changed_key_is_refused_with_the_line_that_knew_another(tmp_path: Path, strict: str) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"# one\nbox {_TYPE} {_TEXT}\n")
    with pytest.raises(HostKeyMismatch, match=f"{file}:2"):
        check_host_key(
            SshSettings("h", "box", 22, "u", strict=strict, user_known_hosts=(file,)), _TYPE, _OTHER
        )


def test_checking_switched_off_by_the_user_lets_a_changed_key_pass(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"box {_TYPE} {_TEXT}\n")
    check_host_key(SshSettings("h", "box", 22, "u", strict="no", user_known_hosts=(file,)), _TYPE, _OTHER)
    assert file.read_text() == f"box {_TYPE} {_TEXT}\n"


def _failure(text: str) -> HostUnreachable:
    with pytest.raises(HostUnreachable) as caught:
        dial(parse_settings("h1", text, jumps=JUMPS if "jump" in text else ()), 2)
    return caught.value


JUMPS = (parse_settings("h1 (jump host gone.invalid)", "hostname gone.invalid\nport 22\nuser me"),)


def test_a_jump_host_whose_name_is_not_known_is_looked_for_where_it_is_configured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(*_: object, **__: object) -> socket.socket:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", unknown)
    error = _failure("hostname h1.invalid\nport 22\nuser me\nproxyjump gone.invalid")
    assert "gone.invalid" in error.message and "jump host" in str(error.where)
    assert "ansible_ssh_common_args" in str(error.hint) and "ansible_host" not in str(error.hint)


def test_a_proxy_command_that_fails_is_named_and_repeated_in_the_hint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("perfctl.ssh.dial._PAUSES_S", (0.01,))
    error = _failure("hostname 192.0.2.12\nport 22\nuser me\nproxycommand false %h")
    assert "ProxyCommand 'false %h'" in error.message
    assert "ssh -v -o" in str(error.hint) and "false %h" in str(error.hint)
