"""Any ssh_config, `ssh -G` and known_hosts gives settings or an error of the host's; none is carried out."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import strategies as st

from perfctl.errors import HostKeyMismatch, UsageError
from perfctl.model import Host
from perfctl.ssh.config import SshSettings, parse_settings, settings_for, split_jumps
from perfctl.ssh.known_hosts import check_host_key
from tests.fuzz.inputs import bounded, given, inputs
from tests.fuzz.mutation import TEXTS, mutated

OPTIONS = [
    *("HostName", "HostKeyAlias", "User", "Port", "IdentityFile", "CertificateFile", "IdentityAgent"),
    *("UserKnownHostsFile", "GlobalKnownHostsFile", "ProxyCommand", "ProxyJump", "ControlPath"),
    *("StrictHostKeyChecking", "ProxyUseFdpass", "Host", "Match", "Nonsense"),
]
PIECES = st.sampled_from(
    [
        *(
            "%h",
            "%n",
            "%p",
            "%r",
            "%k",
            "%%",
            "%C",
            "%d",
            "%i",
            "%j",
            "%L",
            "%l",
            "%u",
            "%T",
            "%",
            "~",
            "~root/",
            "~x",
        ),
        *("${HOME}", "${NO_SUCH_VARIABLE}", "${", "$HOME", "$(touch EXECUTED)", "`touch EXECUTED`"),
        *(
            "; touch EXECUTED",
            "| touch EXECUTED",
            "\\",
            '"',
            "'",
            "/",
            " ",
            ",",
            "@",
            ":",
            "[",
            "]",
            "-",
            "none",
        ),
        *(
            "box",
            "gw",
            "22",
            "99999999999",
            "ssh://",
            "fe80::1%eth0",
            "\xe9",
            "\t",
            "=",
            "#",
            "*",
            "?",
            "!",
            "|1|",
        ),
    ]
)
VALUES = st.lists(PIECES, max_size=6).map("".join)
CONFIG_LINES = st.builds("{} {}".format, st.sampled_from(OPTIONS), VALUES) | st.text(max_size=20)
NAMES = VALUES | TEXTS
PRINTED = "".join(
    f"{line}\n"
    for line in (
        *("host box", "user me", "hostname 192.0.2.1", "port 2222", "addressfamily any", "batchmode no"),
        *(
            "identitiesonly yes",
            "identityfile ~/.ssh/id_rsa",
            "identityfile ~/.ssh/id_ed25519",
            "identityagent none",
        ),
        *("certificatefile /c", "globalknownhostsfile /etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"),
        *("userknownhostsfile ~/.ssh/known_hosts", "stricthostkeychecking ask", "hostkeyalias alias"),
        *(
            "proxycommand nc %h %p",
            "proxyjump me@gw:2022,[fe80::1]:22",
            "proxyusefdpass no",
            "canonicaldomains none",
        ),
    )
)
"""As `ssh -G` prints it, the most of what is read and some of the rest."""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Return a folder in which nothing may appear."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@inputs("ssh_config", 0.2)
@given(
    st.lists(CONFIG_LINES, max_size=6),
    NAMES,
    st.none() | NAMES,
    st.none() | NAMES,
    st.lists(VALUES, max_size=2),
)
def test_any_ssh_config_gives_settings_or_a_usage_error(
    folder: Path, lines: list[str], address: str, user: str | None, key: str | None, options: list[str]
) -> bool:
    mark = folder / "executed"
    config = folder / "ssh_config"
    # What a user lets ssh execute is the user's business: `Match exec`.
    text = "\n".join(line for line in lines if "exec" not in line.lower())
    config.write_bytes(text.replace("EXECUTED", str(mark)).encode("utf-8", "surrogatepass"))
    host = Host(
        "h1",
        address.replace("EXECUTED", str(mark)),
        user=user.replace("EXECUTED", str(mark)) if user else None,
        private_key=Path(key) if key else None,
        ssh_options=(("ConfigFile", str(config)), *(("IdentityFile", value) for value in options)),
    )
    try:
        found = settings_for(host)
        for each in (found, *found.jumps):
            check_settings(each)
            if each.proxy_command:
                each.expand(each.proxy_command, "ProxyCommand")
    except UsageError as error:
        assert str(error.where).startswith("h1")
        return False
    finally:
        assert not mark.exists()
    return True


def check_settings(settings: SshSettings) -> None:
    """Check what connecting relies on."""
    assert settings.known_as and settings.hostname and not settings.hostname.startswith("-")
    assert 0 < settings.port < 65536
    assert settings.strict in ("yes", "no", "accept-new")
    assert not set(settings.hostname) & set("'\"`$\\;&<>|(){} \t\r\n\0")


@inputs("ssh_config", 0.35)
@given(
    mutated(PRINTED)
    | st.lists(st.builds("{} {}".format, st.sampled_from(OPTIONS).map(str.lower), NAMES)).map("\n".join)
)
def test_anything_that_ssh_prints_gives_settings_or_a_usage_error(text: str) -> bool:
    try:
        # As it comes from the program: bytes that are no UTF-8 are halves of surrogate pairs.
        text = text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
        found = parse_settings("h1", text)
        check_settings(found)
        if found.proxy_command:
            found.expand(found.proxy_command, "ProxyCommand")
    except UsageError as error:
        assert error.where == "h1"
        return False
    return True


@inputs("ssh_config", 0.1)
@given(NAMES)
def test_any_text_is_split_into_jump_hosts(text: str) -> bool:
    hops = split_jumps(text)
    assert len(hops) == text.count(",") + 1
    assert all(words[::2] in ([], ["-l"], ["-p"], ["-l", "-p"]) and all(words) for _, words in hops)
    return True


_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8n5CW1"
_KNOWN = (
    f"box {_KEY}\n@revoked box {_KEY}\n|1|c2FsdA==|ZGlnZXN0|x {_KEY}\n[box]:2222,!no,b*x {_KEY}\n# {_KEY}\n"
)


@inputs("ssh_config", 0.35)
@given(
    st.binary(max_size=200)
    | TEXTS.map(lambda text: f"box {text}".encode("utf-8", "surrogatepass"))
    | mutated(_KNOWN).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(["box", "[box]", "b?x", "\udce9", ""]),
    st.sampled_from([22, 2222]),
)
def test_no_known_hosts_file_makes_an_unknown_key_known(
    folder: Path, content: bytes, name: str, port: int
) -> bool:
    file = folder / "known_hosts"
    file.write_bytes(content)
    settings = SshSettings("h1", name, port, "u", user_known_hosts=(file,))
    with pytest.raises(HostKeyMismatch) as caught:
        check_host_key(settings, "ssh-ed25519", b"not in any file")
    assert caught.value.where == "h1"
    assert file.read_bytes() == content
    return False


@pytest.mark.parametrize("port", ["abc", "0", "70000", "-1", "9" * 5000, "２２"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(UsageError, match="which is none") as caught:
        parse_settings("h1", f"hostname box\nport {port}\n")
    assert caught.value.where == "h1"


@pytest.mark.parametrize(
    "option", ["identityfile", "certificatefile", "userknownhostsfile", "globalknownhostsfile"]
)
def test_a_file_of_a_user_that_cannot_be_is_refused(option: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_settings("h1", f"hostname box\n{option} ~\0/x\n")
    assert caught.value.where == "h1"


def test_patterns_of_many_stars_are_no_hang(folder: Path) -> None:
    file = folder / "known_hosts"
    file.write_text(f"{'*a' * 500}b {_KEY}\n")
    with bounded(), pytest.raises(HostKeyMismatch):
        check_host_key(
            SshSettings("h1", "a" * 5000, 22, "u", user_known_hosts=(file,)), "ssh-ed25519", b"key"
        )
