"""The settings of a host in ssh_config, as `ssh -G` prints them: Include, Match and defaults all count.

ssh expands tokens and `${VAR}` in most options before it prints them. IdentityFile and CertificateFile it
prints as they are written: those are handed to ssh once more as a ControlPath, which it does expand, so that
every token means what it means to the installed ssh.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from perfctl.errors import UsageError
from perfctl.model import Host

CONFIG_FILE_OPTION = "ConfigFile"
"""The name under which `Host.ssh_options` carries the `-F FILE` of ansible_ssh_common_args."""

_TIMEOUT_S = 30.0
_SEPARATOR = "\x1f"
"""Between the templates that ssh expands in one go: no path holds it."""
_TOKEN = re.compile(r"%(.?)", re.DOTALL)
# What ssh (since 9.6) refuses in the names that ProxyCommand and Match exec hand to a shell. An address of
# IPv6 may have a zone (fe80::1%eth0), and a user's name a blank.
_UNSAFE_HOST = re.compile(r"^$|^-|['\"`$\\;&<>|(){}\s\x00-\x1f\x7f]")
_UNSAFE_USER = re.compile(r"^-|['\"`;&<>|(){}\x00]|\s-|\\$")


@dataclass(frozen=True, slots=True)
class SshSettings:
    """How to reach, recognise and log in to one host."""

    name: str
    """Its name in messages: the inventory's."""
    hostname: str
    port: int
    user: str
    original: str = ""
    """The name that ssh was given, before HostName."""
    identity_files: tuple[Path, ...] = ()
    certificate_files: tuple[Path, ...] = ()
    identities_only: bool = False
    agent: str | None = None
    """The socket of the agent whose keys are tried; None: no agent."""
    password: str | None = field(default=None, repr=False)
    host_key_alias: str | None = None
    strict: str = "yes"
    """StrictHostKeyChecking: yes (also for `ask`: there is nobody to ask), accept-new, no."""
    user_known_hosts: tuple[Path, ...] = ()
    global_known_hosts: tuple[Path, ...] = ()
    proxy_command: str | None = None
    passes_socket: bool = False
    """ProxyUseFdpass: the ProxyCommand hands over a connected socket and ends."""
    jumps: tuple[SshSettings, ...] = ()
    """Hosts to go through, the first one first."""

    @property
    def known_as(self) -> str:
        """The name under which known_hosts files list it."""
        name = (self.host_key_alias or self.hostname).lower()
        return name if self.port == 22 or self.host_key_alias else f"[{name}]:{self.port}"

    @property
    def way(self) -> str:
        """What the connection goes through, '' where it is direct: 'jump host NAME' or 'ProxyCommand ...'."""
        if self.jumps:
            return f"jump host {self.jumps[-1].hostname}"
        return f"ProxyCommand {self.proxy_command!r}" if self.proxy_command else ""

    def expand(self, text: str, option: str) -> str:
        """Return the value of ProxyCommand or ProxyJump with its tokens filled in.

        Raises UsageError for a token that these options do not have.
        """
        values = {
            "%": "%",
            "h": self.hostname,
            "k": self.host_key_alias or self.original or self.hostname,
            "n": self.original or self.hostname,
            "p": str(self.port),
            "r": self.user,
        }

        def value(found: re.Match[str]) -> str:
            if found[1] not in values:
                raise UsageError(
                    f"{option} has no token {found[0]!r}: {text}",
                    where=self.name,
                    hint="the tokens are %%, %h, %k, %n, %p and %r: ssh_config(5), TOKENS",
                )
            return values[found[1]]

        return _TOKEN.sub(value, text)


def settings_for(host: Host) -> SshSettings:
    """Return the settings of an inventory host. Raises UsageError when ssh refuses it."""
    arguments: list[str] = ["-p", str(host.port)] if host.port != 22 else []
    if host.user:
        arguments += ["-l", host.user]
    if host.private_key:
        # As Ansible hands it on: with `-i` ssh would not expand its tokens.
        arguments += ["-o", f"IdentityFile={_quoted(str(host.private_key))}"]
    files = [value for key, value in host.ssh_options if key == CONFIG_FILE_OPTION]
    base = ["-F", files[-1]] if files else []
    for key, value in host.ssh_options:
        if key != CONFIG_FILE_OPTION:
            arguments += ["-o", f"{key}={value}"]
    password = host.variables.get("ansible_password") or host.variables.get("ansible_ssh_pass")
    settings = _resolve(host.name, host.address, base, arguments, depth=0)
    # Options precede the configuration: the inventory's file is the first.
    own_key = settings.identity_files[0] if settings.identity_files else host.private_key
    if host.private_key and not is_there(own_key):
        raise UsageError(
            f"its private key {own_key} does not exist",
            where=host.name,
            hint="check ansible_ssh_private_key_file in the inventory",
        )
    return replace(settings, password=str(password) if password else None)


def parse_settings(name: str, text: str, *, jumps: tuple[SshSettings, ...] = ()) -> SshSettings:
    """Return the settings in the output of `ssh -G`; tokens that it left are left.

    Raises UsageError for a host or user name that must not reach a shell.
    """
    options = _options(text)
    command = _first(options, "proxycommand")
    hostname, user = _first(options, "hostname"), _first(options, "user")
    _refuse_unsafe(name, hostname, user)
    return SshSettings(
        name=name,
        hostname=hostname,
        port=_port(name, _first(options, "port")),
        user=user,
        identity_files=_files(name, options.get("identityfile", ())),
        certificate_files=_files(name, options.get("certificatefile", ())),
        identities_only=_first(options, "identitiesonly") == "yes",
        agent=_agent(_first(options, "identityagent")),
        host_key_alias=_first(options, "hostkeyalias") or None,
        strict=_strictness(_first(options, "stricthostkeychecking")),
        user_known_hosts=_paths(name, _first(options, "userknownhostsfile")),
        global_known_hosts=_paths(name, _first(options, "globalknownhostsfile")),
        proxy_command=None if command in ("", "none") else command,
        passes_socket=_first(options, "proxyusefdpass") == "yes",
        jumps=jumps,
    )


def _port(name: str, text: str) -> int:
    if not text:
        return 22
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise UsageError(f"ssh -G prints the port {text!r:.80}, which is none", where=name)
    return int(text)


def split_jumps(value: str) -> list[tuple[str, list[str]]]:
    """Return (address, ssh arguments) for each hop of a ProxyJump value: `[user@]host[:port],...` or ssh://."""
    hops = []
    for hop in value.split(","):
        rest = hop.strip().removeprefix("ssh://").rstrip("/")
        user, _, place = rest.rpartition("@")
        address, port = place, ""
        if place.startswith("["):
            address, _, tail = place[1:].partition("]")
            port = tail.removeprefix(":")
        elif place.count(":") == 1:
            address, _, port = place.partition(":")
        arguments = (["-l", user] if user else []) + (["-p", port] if port else [])
        hops.append((address, arguments))
    return hops


def _resolve(
    name: str, address: str, base: Sequence[str], arguments: Sequence[str], *, depth: int
) -> SshSettings:
    if depth > 8:
        raise UsageError(
            "its ProxyJump leads in a circle", where=name, hint="read it with: ssh -G " + address
        )
    _refuse_unsafe(name, address, "")
    text = _print_config(name, [*base, *arguments, "--", address])
    settings = replace(parse_settings(name, text), original=address)
    settings = _expand_files(settings, [*base, *arguments], address)
    jumps: list[SshSettings] = []
    proxy_jump = _first(_options(text), "proxyjump")
    if proxy_jump not in ("", "none"):
        # A hop reads its own configuration (-F is handed on, -o is not), as OpenSSH does it.
        for hop, hop_arguments in split_jumps(proxy_jump):
            hop = settings.expand(hop, "ProxyJump")
            hop_arguments = [settings.expand(word, "ProxyJump") for word in hop_arguments]
            through = _resolve(f"{name} (jump host {hop})", hop, base, hop_arguments, depth=depth + 1)
            jumps += through.jumps if not jumps else ()
            jumps.append(through)
    return replace(settings, jumps=tuple(jumps))


def _expand_files(settings: SshSettings, arguments: Sequence[str], address: str) -> SshSettings:
    """Return the settings with the tokens of IdentityFile and CertificateFile filled in, by ssh itself."""
    own, certificates = settings.identity_files, settings.certificate_files
    templates = [str(path) for path in (*own, *certificates)]
    if not any("%" in template or "${" in template for template in templates):
        return settings
    value = _SEPARATOR + _SEPARATOR.join(templates)
    # The first value of an option counts.
    first = ["-o", f"ControlPath={_quoted(value)}"]
    text = _print_config(settings.name, [*first, *arguments, "--", address])
    _, *expanded = _first(_options(text), "controlpath").split(_SEPARATOR)
    if len(expanded) != len(templates):
        raise UsageError(f"ssh does not expand IdentityFile {', '.join(templates)}", where=settings.name)
    paths = [Path(path) for path in expanded]
    return replace(
        settings,
        identity_files=tuple(paths[: len(own)]),
        certificate_files=tuple(paths[len(own) :]),
    )


def _print_config(name: str, arguments: Sequence[str]) -> str:
    program = shutil.which("ssh")
    if program is None:
        raise UsageError("there is no ssh client here", where=name, hint="apt-get install openssh-client")
    try:
        done = subprocess.run(
            # -T: without a terminal ssh would remark that it allocates none.
            [program, "-T", "-G", *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            stdin=subprocess.DEVNULL,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"ssh -G did not end within {_TIMEOUT_S:g} s", where=name) from error
    except (OSError, ValueError) as error:
        # A NUL byte, half a surrogate pair, a line of more than 128 KiB.
        raise UsageError(f"its settings cannot be handed to ssh: {error}", where=name) from error
    if done.returncode != 0:
        raise UsageError(f"ssh refuses its configuration: {printable(done.stderr)}", where=name)
    return done.stdout


def printable(text: str) -> str:
    """Return text of another program on one line, with bytes that are no UTF-8 as escapes."""
    whole = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "; ".join(line.strip() for line in whole.splitlines() if line.strip())


def _refuse_unsafe(name: str, address: str, user: str) -> None:
    for kind, value, unsafe in (("host", address, _UNSAFE_HOST), ("user", user, _UNSAFE_USER)):
        if unsafe.search(value):
            raise UsageError(
                f"{value!r} cannot be the name of a {kind} for ssh",
                where=name,
                hint="check ansible_host and ansible_user in the inventory, HostName and User in ssh_config",
            )


def _quoted(value: str) -> str:
    """Return a value that ssh_config reads as one word."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _options(text: str) -> dict[str, list[str]]:
    options: dict[str, list[str]] = {}
    for line in text.split("\n"):
        key, _, value = line.partition(" ")
        options.setdefault(key.lower(), []).append(value)
    return options


def _first(options: Mapping[str, Sequence[str]], key: str) -> str:
    values = options.get(key, ())
    return values[0] if values else ""


def _strictness(value: str) -> str:
    # `ssh -G` prints yes and no as true and false in some versions.
    return {"false": "no", "off": "no", "no": "no", "accept-new": "accept-new"}.get(value.lower(), "yes")


def _agent(value: str) -> str | None:
    """Return the socket that IdentityAgent stands for: a path, `$NAME` of a variable, SSH_AUTH_SOCK, none."""
    if value.lower() == "none":
        return None
    if value.startswith("$"):
        return os.environ.get(value[1:].strip("{}")) or None
    return os.environ.get("SSH_AUTH_SOCK") or None if value in ("", "SSH_AUTH_SOCK") else value


def _paths(name: str, value: str) -> tuple[Path, ...]:
    # Several files are separated by blanks and printed unquoted: a single path with a blank must exist whole.
    whole = _files(name, [value])
    return whole if " " in value and is_there(whole[0]) else _files(name, value.split(" "))


def _files(name: str, values: Sequence[str]) -> tuple[Path, ...]:
    try:
        return tuple(Path(value).expanduser() for value in values if value not in ("", "none"))
    except (RuntimeError, ValueError) as error:
        # No user has a name with a NUL byte.
        raise UsageError(f"{', '.join(values)}: {error}", where=name) from error


def is_there(path: Path | None) -> bool:
    """Return whether a path exists; False for what cannot be one (a name that is too long, a NUL byte)."""
    try:
        return path is not None and path.exists()
    except (OSError, ValueError):
        return False
