"""Make Host values of an inventory's variables."""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from perfctl.errors import UsageError
from perfctl.inventory.template import Resolver
from perfctl.model import Host

_SSH = ("ssh", "smart", "paramiko", "paramiko_ssh", "ansible.builtin.ssh", "ansible.builtin.paramiko_ssh")
_LOCAL = ("local", "ansible.builtin.local")
_SUDO = ("sudo", "ansible.builtin.sudo")
# ssh options that change nothing about how a host is reached, or that only the ssh program has.
_IGNORED_FLAGS = frozenset("ACGKMNTXYaknqstvxy")
_OPTION_OF_FLAG = {"J": "ProxyJump", "p": "Port", "l": "User", "i": "IdentityFile", "F": "ConfigFile"}
_NAME = re.compile(r"\w[\w.:%@-]*")
_PORT = re.compile(r"\s*[0-9]{1,9}\s*")
_TRUE = ("true", "yes", "on", "1", "y", "t")


def hosts_in(listing: Mapping[str, Any], resolver: Resolver) -> list[Host]:
    """Return the hosts of an `ansible-inventory --list`, in the inventory's order. Raises UsageError."""
    hostvars: Mapping[str, Mapping[str, Any]] = listing.get("_meta", {}).get("hostvars", {})
    members = {name: _members(listing, name) for name in listing if name != "_meta"}
    names = dict.fromkeys([*members.get("all", []), *hostvars])
    for hosts in members.values():
        names.update(dict.fromkeys(hosts))
    _refuse_odd_names(names, ", ".join(resolver.sources))
    groups = {name: set(hosts) for name, hosts in members.items() if name not in ("all", "ungrouped")}
    return [
        _host(
            name, hostvars.get(name, {}), sorted(g for g, hosts in groups.items() if name in hosts), resolver
        )
        for name in names
    ]


def _refuse_odd_names(names: Iterable[str], where: str) -> None:
    """Raise UsageError for names that --limit cannot name: Ansible's patterns give other meanings to them."""
    odd = [name for name in names if not _NAME.fullmatch(name)]
    if odd:
        raise UsageError(
            f"not a name for a host: {', '.join(map(repr, odd))}",
            where=where,
            hint="letters, digits and _ . - : % @, no sign first; the address goes into ansible_host",
        )


def parse_ssh_arguments(text: str, where: str) -> list[tuple[str, str]]:
    """Return the (key, value) pairs of ssh_config(5) that ssh's own arguments stand for.

    `-F FILE` comes back as ("ConfigFile", FILE). Raises UsageError for an argument that is not understood.
    """
    try:
        words = iter(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"cannot be read as ssh arguments: {error}", where=where) from error
    pairs = []
    for word in words:
        flag, attached = word[1:2], word[2:]
        if not word.startswith("-") or not flag:
            raise UsageError(f"{word!r} is no ssh option", where=where)
        if flag in ("4", "6"):
            pairs.append(("AddressFamily", "inet" if flag == "4" else "inet6"))
        elif flag == "o" or flag in _OPTION_OF_FLAG:
            value = attached or next(words, "")
            pairs.append(_key_value(value, where) if flag == "o" else (_OPTION_OF_FLAG[flag], value))
        elif not set(word[1:]) <= _IGNORED_FLAGS:
            raise UsageError(
                f"perfctl does not know the ssh option {word}", where=where, hint="use -o Key=value"
            )
    return pairs


def _members(listing: Mapping[str, Any], group: str) -> list[str]:
    """Return the hosts of a group, then those of its children; each group once, however it is reached."""
    hosts: dict[str, None] = {}
    seen: set[str] = set()
    ahead = [group]
    while ahead:
        name = ahead.pop()
        if name not in seen:
            seen.add(name)
            content = listing.get(name, {})
            hosts |= dict.fromkeys(content.get("hosts", []))
            ahead += reversed(content.get("children", []))
    return list(hosts)


def _host(name: str, variables: Mapping[str, Any], groups: Iterable[str], resolver: Resolver) -> Host:
    def get(*keys: str) -> Any:
        for key in keys:
            value = resolver.value(name, key, variables)
            if value is not None and value != "":
                return value
        return None

    connection = str(get("ansible_connection") or "ssh")
    if connection not in _SSH + _LOCAL:
        raise UsageError(
            f"ansible_connection is {connection}; perfctl reaches hosts by ssh or local", where=name
        )
    is_local = connection in _LOCAL
    password = get("ansible_become_password", "ansible_become_pass")
    become = _is_true(get("ansible_become"))
    if become:
        _check_become(name, get("ansible_become_method"), get("ansible_become_user"))
    user, key = (
        get("ansible_user", "ansible_ssh_user"),
        get("ansible_ssh_private_key_file", "ansible_private_key_file"),
    )
    login = {key: get(key) for key in ("ansible_password", "ansible_ssh_pass") if get(key) is not None}
    return Host(
        name=name,
        address=str(get("ansible_host", "ansible_ssh_host") or ("127.0.0.1" if is_local else name)),
        connection="local" if is_local else "ssh",
        port=_port(name, get("ansible_port", "ansible_ssh_port")),
        user=None if user is None else str(user),
        private_key=None if key is None else _path(name, str(key)),
        ssh_options=() if is_local else _ssh_options(name, get),
        become=become,
        become_password=None if password is None else str(password),
        python=_python(get),
        state_dir=_state_dir(name, get("perf_state_dir")),
        test_address=_test_address(name, get("perf_test_address")),
        resource=None if (resource := get("perf_resource")) is None else str(resource),
        groups=tuple(groups),
        variables={**variables, **login},
    )


def _python(get: Any) -> str:
    """Return the interpreter that the inventory names; how Ansible would look for one is Ansible's own."""
    with suppress(UsageError):
        named = get("ansible_python_interpreter")
        if named is not None and not str(named).startswith("auto"):
            return str(named)
    return "python3"


def _state_dir(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if not str(value).startswith("/"):
        raise UsageError(f"perf_state_dir is {value!r}, which is no absolute path", where=name)
    return str(value).rstrip("/")


def _ssh_options(name: str, get: Any) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for variable in ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args"):
        text = get(variable)
        if text is not None:
            pairs += parse_ssh_arguments(str(text), f"{name}: {variable}")
    # ansible_ssh_args may set connection sharing, which only the ssh program has.
    return tuple(pair for pair in pairs if not pair[0].lower().startswith("control"))


def _key_value(text: str, where: str) -> tuple[str, str]:
    # ssh_config(5): key and value are separated by blanks, or by one = with blanks around it at will.
    found = re.fullmatch(r"\s*(\w+)(?:\s*=\s*|\s+)(.*?)\s*", text, re.DOTALL)
    if not found or not found[2]:
        raise UsageError(f"-o {text!r} is not Key=value", where=where)
    return found[1], found[2]


def _path(name: str, value: str) -> Path:
    try:
        return Path(value).expanduser()
    except (RuntimeError, ValueError) as error:
        # No user has a name with a NUL byte or half of a character.
        raise UsageError(
            f"ansible_ssh_private_key_file is {value!r}, and that user has no home folder", where=name
        ) from error


def _port(name: str, value: Any) -> int:
    if value is None:
        return 22
    port = int(value) if type(value) is int or _PORT.fullmatch(str(value)) else 0
    if not 0 < port < 65536:
        raise UsageError(f"ansible_port is {value!r}, which is no port", where=name)
    return port


def _test_address(name: str, value: Any) -> str | None:
    if value is None:
        return None
    try:
        return str(ipaddress.ip_interface(str(value)).ip)
    except ValueError as error:
        raise UsageError(
            f"perf_test_address is {value!r}, which is no IP address",
            where=name,
            hint="write it like 10.241.0.11/16",
        ) from error


def _check_become(name: str, method: Any, user: Any) -> None:
    if method is not None and method not in _SUDO:
        raise UsageError(f"ansible_become_method is {method}; perfctl becomes root by sudo only", where=name)
    if user not in (None, "root"):
        raise UsageError(f"ansible_become_user is {user}; perfctl becomes root only", where=name)


def _is_true(value: Any) -> bool:
    return value is True or str(value).lower() in _TRUE
