"""The settings of a host in ssh_config, as `ssh -G` prints them: Include, Match and defaults all count."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from perfctl.errors import UsageError
from perfctl.model import Host

CONFIG_FILE_OPTION = "ConfigFile"
"""The name under which `Host.ssh_options` carries the `-F FILE` of ansible_ssh_common_args."""

_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class SshSettings:
    """How to reach, recognise and log in to one host."""

    name: str
    """Its name in messages: the inventory's."""
    hostname: str
    port: int
    user: str
    identity_files: tuple[Path, ...] = ()
    identities_only: bool = False
    use_agent: bool = True
    password: str | None = field(default=None, repr=False)
    host_key_alias: str | None = None
    strict: str = "yes"
    """StrictHostKeyChecking: yes (also for `ask`: there is nobody to ask), accept-new, no."""
    user_known_hosts: tuple[Path, ...] = ()
    global_known_hosts: tuple[Path, ...] = ()
    proxy_command: str | None = None
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


def settings_for(host: Host) -> SshSettings:
    """Return the settings of an inventory host. Raises UsageError when ssh refuses it."""
    arguments: list[str] = ["-p", str(host.port)] if host.port != 22 else []
    if host.user:
        arguments += ["-l", host.user]
    if host.private_key:
        if not host.private_key.exists():
            raise UsageError(
                f"its private key {host.private_key} does not exist",
                where=host.name,
                hint="check ansible_ssh_private_key_file in the inventory",
            )
        arguments += ["-i", str(host.private_key)]
    files = [value for key, value in host.ssh_options if key == CONFIG_FILE_OPTION]
    base = ["-F", files[-1]] if files else []
    for key, value in host.ssh_options:
        if key != CONFIG_FILE_OPTION:
            arguments += ["-o", f"{key}={value}"]
    password = host.variables.get("ansible_password") or host.variables.get("ansible_ssh_pass")
    return _resolve(host.name, host.address, base, arguments, str(password) if password else None, depth=0)


def parse_settings(
    name: str, text: str, *, password: str | None = None, jumps: tuple[SshSettings, ...] = ()
) -> SshSettings:
    """Return the settings in the output of `ssh -G`."""
    options = _options(text)
    command = _first(options, "proxycommand")
    return SshSettings(
        name=name,
        hostname=_first(options, "hostname"),
        port=int(_first(options, "port") or 22),
        user=_first(options, "user"),
        identity_files=tuple(_expand(path, options) for path in options.get("identityfile", ())),
        identities_only=_first(options, "identitiesonly") == "yes",
        use_agent=_first(options, "identityagent").lower() != "none",
        password=password,
        host_key_alias=_first(options, "hostkeyalias") or None,
        strict=_strictness(_first(options, "stricthostkeychecking")),
        user_known_hosts=_paths(_first(options, "userknownhostsfile"), options),
        global_known_hosts=_paths(_first(options, "globalknownhostsfile"), options),
        proxy_command=None if command in ("", "none") else command,
        jumps=jumps,
    )


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
    name: str,
    address: str,
    base: Sequence[str],
    arguments: Sequence[str],
    password: str | None,
    *,
    depth: int,
) -> SshSettings:
    if depth > 8:
        raise UsageError(
            "its ProxyJump leads in a circle", where=name, hint="read it with: ssh -G " + address
        )
    text = _print_config(name, [*base, *arguments, "--", address])
    jumps: list[SshSettings] = []
    proxy_jump = _first(_options(text), "proxyjump")
    if proxy_jump not in ("", "none"):
        # A hop reads its own configuration (-F is handed on, -o is not), as OpenSSH does it.
        for hop, hop_arguments in split_jumps(proxy_jump):
            settings = _resolve(f"{name} (jump host {hop})", hop, base, hop_arguments, None, depth=depth + 1)
            jumps += settings.jumps if not jumps else ()
            jumps.append(settings)
    return parse_settings(name, text, password=password, jumps=tuple(jumps))


def _print_config(name: str, arguments: Sequence[str]) -> str:
    program = shutil.which("ssh")
    if program is None:
        raise UsageError("there is no ssh client here", where=name, hint="apt-get install openssh-client")
    try:
        done = subprocess.run(
            [program, "-G", *arguments], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"ssh -G did not end within {_TIMEOUT_S:g} s", where=name) from error
    if done.returncode != 0:
        raise UsageError(f"ssh refuses its configuration: {done.stderr.strip()}", where=name)
    return done.stdout


def _options(text: str) -> dict[str, list[str]]:
    options: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        options.setdefault(key.lower(), []).append(value)
    return options


def _first(options: Mapping[str, Sequence[str]], key: str) -> str:
    values = options.get(key, ())
    return values[0] if values else ""


def _strictness(value: str) -> str:
    # `ssh -G` prints yes and no as true and false in some versions.
    return {"false": "no", "off": "no", "no": "no", "accept-new": "accept-new"}.get(value.lower(), "yes")


def _paths(value: str, options: Mapping[str, Sequence[str]]) -> tuple[Path, ...]:
    # Several files are separated by blanks and printed unquoted: a single path with a blank must exist whole.
    whole = _expand(value, options)
    if " " in value and whole.exists():
        return (whole,)
    return tuple(_expand(part, options) for part in value.split() if part != "none")


def _expand(path: str, options: Mapping[str, Sequence[str]]) -> Path:
    """Return a path with `~` and the commonest tokens of ssh_config(5) filled in."""
    tokens = {
        "%%": "%",
        "%d": str(Path.home()),
        "%h": _first(options, "hostname"),
        "%r": _first(options, "user"),
    }
    for token, replacement in tokens.items():
        path = path.replace(token, replacement)
    return Path(path.strip('"')).expanduser()
