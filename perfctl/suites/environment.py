"""The environments that a suite file defines itself. docs/suites.md has the table of their keys."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

from perfctl.environments import CATALOGUE, KINDS, KindTraits, traits_of
from perfctl.environments.catalogue import VM_MEMORY_MIB, default_vcpus
from perfctl.environments.kinds import FIELDS
from perfctl.environments.limits import parse_cpulist
from perfctl.environments.variables import check_variable
from perfctl.errors import SuiteError
from perfctl.model import Environment
from perfctl.model.environment import Kind
from perfctl.suites.table import NAME, NAME_RULE, Table, close_hint


class Definitions:
    """The tables of a file's environments, which may name each other in any order."""

    def __init__(self, tables: Mapping[str, Any], *, path: str) -> None:
        """Take the tables by name; `path` is named in errors. Raises SuiteError for a built-in's name."""
        self._tables = tables
        self._path = path
        self._read: dict[str, Environment] = {}
        for name in tables:
            if not re.fullmatch(NAME, name):
                raise SuiteError(
                    f"{name!r:.200} is no name for an environment",
                    where=f"{path}: [environments]",
                    hint=f"it must be {NAME_RULE}",
                )
            if name in CATALOGUE:
                raise SuiteError(
                    f"{name} is a built-in environment", where=self._where(name), hint="give it another name"
                )

    def environments(self) -> dict[str, Environment]:
        """Return all of them by name. Raises SuiteError for a wrong key, type, value or combination."""
        return {name: self._environment(name, ()) for name in self._tables}

    def _where(self, name: str) -> str:
        return f"{self._path}: [environments.{name}]"

    def _environment(self, name: str, path_so_far: tuple[str, ...]) -> Environment:
        if name not in self._read:
            table = Table(
                self._tables[name], where=self._where(name), keys=("kind", *FIELDS), instead=_INSTEAD
            )
            _refuse_foreign_keys(table, _kind(table))
            within = self._named(table, "within", (*path_so_far, name))
            server = self._named(table, "server", (*path_so_far, name))
            _check_composition(table, within, server)
            folder = Path(self._path).parent
            self._read[name] = read_environment(name, table, folder, within=within, server=server)
        return self._read[name]

    def _named(self, table: Table, key: str, path_so_far: tuple[str, ...]) -> Environment | None:
        name = table.optional(key, str)
        if name is None:
            return None
        if name in path_so_far:
            circle = " -> ".join((*path_so_far[path_so_far.index(name) :], name))
            raise table.wrong(key, f"leads back to itself: {circle}", hint="leave one of them out")
        if name in CATALOGUE:
            return CATALOGUE[name]
        if name not in self._tables:
            known = (*CATALOGUE, *self._tables)
            hint = close_hint(name, known, otherwise=f"there are: {', '.join(known)}")
            raise table.wrong(key, f"has no environment {name!r} to name", hint=hint)
        return self._environment(name, path_so_far)


_INSTEAD = {
    "cpus": "cpu_quota = 1 (as docker --cpus; native and container), or vcpus = 1 (vm)",
    "cpuset": 'cpuset_cpus = "0-1" (as docker --cpuset-cpus)',
    "memory": "memory_mib = 512 (as docker --memory 512m)",
}
"""Names of docker's options, and the key to use instead."""


def read_environment(
    name: str, table: Table, folder: Path, *, within: Environment | None, server: Environment | None
) -> Environment:
    """Return the environment of one table; what it leaves out is as in the built-in one of its kind.

    Files that it names are below `folder`, unless they have absolute paths. Raises SuiteError for a wrong
    type, value or combination.
    """
    kind = _kind(table)
    traits = KINDS[kind]
    fields = {field: read(table) for field, read in _READERS.items() if table.has(field)}
    fields = {**traits.defaults, **fields, "within": within, "server": server}
    if "security_opt" in fields:
        fields |= _security_opt(table, fields["security_opt"], folder)
    _check_memory(table, traits)
    _check_disk(table)
    if "vcpus" in traits.fields:
        fields["vcpus"] = _vcpus(table, fields)
    environment = Environment(name=name, kind=kind, **fields)
    if within is not None:
        _check_fits(table, environment, within)
    return environment


def _kind(table: Table) -> Kind:
    return cast(Kind, table.choice("kind", tuple(KINDS)))


def _refuse_foreign_keys(table: Table, kind: Kind) -> None:
    for key in FIELDS:
        if table.has(key) and key not in KINDS[kind].fields:
            owner = next(other for other, traits in KINDS.items() if key in traits.fields)
            hint = KINDS[kind].instead.get(key, f'kind = "{owner}"?')
            raise SuiteError(f"a {kind} environment has no {key}", where=table.where, hint=hint)


def _check_composition(table: Table, within: Environment | None, server: Environment | None) -> None:
    if within is not None and not traits_of(within).holds_others:
        holders = " or ".join(kind for kind, traits in KINDS.items() if traits.holds_others)
        raise table.wrong("within", f"must be a {holders}, not a {within.kind}", hint='within = "vm"')
    if within is not None and within.server is not None:
        raise table.wrong(
            "within",
            f"names a guest with a server of its own ({within.server.name})",
            hint=f'name a vm without one, and write here: server = "{within.server.name}"',
        )
    if server is not None and server.server is not None:
        raise table.wrong(
            "server",
            f"names an environment whose own server is {server.server.name}",
            hint="name one without a server",
        )


def _check_fits(table: Table, container: Environment, guest: Environment) -> None:
    """Raise SuiteError for limits of a container that exceed what its guest has."""
    # A suite must hold on every host, and which accelerator a host has is not known here.
    vcpus = guest.vcpus or default_vcpus(guest.accelerator or "tcg")
    memory_mib = guest.memory_mib or VM_MEMORY_MIB
    number = f"{vcpus} vCPUs" if vcpus > 1 else "1 vCPU"
    where = "" if guest.vcpus or guest.accelerator else " (where it is emulated)"
    size = f"{guest.name} has {number}{where} and {memory_mib} MiB"
    hint = f"a container in a guest counts what the guest has; see vcpus and memory_mib of {guest.name}"
    if container.cpuset_cpus and max(parse_cpulist(container.cpuset_cpus)) >= vcpus:
        raise table.wrong("cpuset_cpus", f"goes beyond the guest: {size}", hint=hint)
    if container.cpu_quota is not None and container.cpu_quota > vcpus:
        raise table.wrong("cpu_quota", f"goes beyond the guest: {size}", hint=hint)
    if container.memory_mib is not None and container.memory_mib >= memory_mib:
        raise table.wrong("memory_mib", f"goes beyond the guest: {size}", hint=hint)


def _check_memory(table: Table, traits: KindTraits) -> None:
    memory_mib = table.optional("memory_mib", int)
    if memory_mib is not None and memory_mib < traits.min_memory_mib:
        raise table.wrong("memory_mib", f"must be at least {traits.min_memory_mib}")


def _check_disk(table: Table) -> None:
    if table.optional("disk_io", str) != "native":
        return
    if table.optional("disk_cache", str) not in ("none", "directsync"):
        raise table.wrong(
            "disk_io", "needs a disk that the host does not cache", hint='disk_cache = "none" or "directsync"'
        )


def _vcpus(table: Table, fields: Mapping[str, Any]) -> int | None:
    """Return the number of vCPUs: the table's, else one for each CPU that it names."""
    vcpus, cpus = fields.get("vcpus"), fields.get("cpuset_cpus")
    count = len(parse_cpulist(cpus)) if cpus else None
    if vcpus and count and vcpus != count:
        raise table.wrong(
            "vcpus",
            f"does not go with cpuset_cpus, which has {count}: each vCPU is pinned to one of them",
            hint=f"vcpus = {count}, or leave it out",
        )
    return vcpus or count


# ---- one field each --------------------------------------------------------------------------------------


def _cpulist(table: Table, key: str) -> str:
    text = table.value(key, str)
    try:
        parse_cpulist(text)
    except ValueError as error:
        raise table.wrong(key, str(error), hint=f'as in {key} = "0-3,8"') from error
    return text


_MOST_CPUS = 8192
"""As many as Linux can be built for."""


def _quota(table: Table) -> float | None:
    quota = table.number("cpu_quota")
    if quota is None:
        return None
    # Systemd before 250 takes whole per cents only.
    if not 0.01 <= quota <= _MOST_CPUS or not math.isclose(quota * 100, round(quota * 100)):
        raise table.wrong(
            "cpu_quota",
            f"must be above 0, in steps of 0.01 CPUs, and at most {_MOST_CPUS}",
            hint="cpu_quota = 1.5",
        )
    return quota


def _count(table: Table, key: str) -> int:
    value = table.value(key, int)
    if value < 1:
        raise table.wrong(key, "must be at least 1")
    return value


def _variables(table: Table) -> tuple[tuple[str, str], ...]:
    """Return the variables by name: the order in the table has no meaning."""
    found = table.value("env", dict)
    for name, value in found.items():
        if type(value) is not str:
            raise table.wrong("env", f"must have texts, and {name} is none", hint=f'{name} = "{value}"')
        try:
            check_variable(name, value)
        except ValueError as error:
            raise table.wrong("env", str(error)) from error
    return tuple(sorted(found.items()))


def _flag(key: str) -> Callable[[Table], bool]:
    return lambda table: table.value(key, bool)


def _security_opt(table: Table, values: tuple[str, ...], folder: Path) -> dict[str, Any]:
    """Return the field `security_opt` without a seccomp profile that is a file, and that file's text."""
    named = [value for value in values if re.match(r"seccomp[=:]", value)]
    if len(named) > 1:
        raise table.wrong("security_opt", "names two seccomp profiles")
    if not named or (profile := named[0][len("seccomp=") :]) in _NO_FILES:
        return {}
    return {
        "security_opt": tuple(value for value in values if value not in named),
        "seccomp_profile": _profile_text(table, folder / profile, profile),
    }


_NO_FILES = ("unconfined", "builtin")
"""What docker's option seccomp= may say beside the path of a profile."""
_LARGEST_PROFILE_BYTES = 1 << 20
_PROFILE_HINT = 'a file as docker takes it: {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [...]}'


def _profile_text(table: Table, path: Path, written: str) -> str:
    """Return the text of a seccomp profile. Raises SuiteError where it is missing or is none."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
    except FileNotFoundError as error:
        there = [item.name for item in path.parent.glob("*.json")]
        hint = close_hint(path.name, there, otherwise="the path is relative to the suite's folder")
        problem = f"names a seccomp profile that is not there: {path}"
        raise table.wrong("security_opt", problem, hint=hint) from error
    except OSError as error:
        problem = f"names a seccomp profile that cannot be read: {path}: {error.strerror}"
        raise table.wrong("security_opt", problem) from error
    except (ValueError, RecursionError) as error:
        problem = f"names a seccomp profile that is no JSON: {path}: {error}"
        raise table.wrong("security_opt", problem, hint=_PROFILE_HINT) from error
    if not isinstance(content, dict) or not isinstance(content.get("defaultAction"), str):
        problem = f"names a seccomp profile without a defaultAction: {written}"
        raise table.wrong("security_opt", problem, hint=_PROFILE_HINT)
    if len(text) > _LARGEST_PROFILE_BYTES:
        raise table.wrong("security_opt", f"names a seccomp profile of more than 1 MiB: {written}")
    return text


def _tmpfs(table: Table) -> tuple[str, ...]:
    folders = table.texts("tmpfs")
    for folder in folders:
        if not folder.startswith("/"):
            raise table.wrong("tmpfs", "must have absolute paths", hint='as in tmpfs = ["/tmp:size=64m"]')
    return folders


def _texts(key: str) -> Callable[[Table], tuple[str, ...]]:
    return lambda table: table.texts(key)


def _choice(key: str, *choices: str) -> Callable[[Table], str]:
    return lambda table: table.choice(key, choices)


_READERS: Mapping[str, Callable[[Table], Any]] = {
    "description": lambda table: table.value("description", str),
    "cpuset_cpus": partial(_cpulist, key="cpuset_cpus"),
    "cpuset_mems": partial(_cpulist, key="cpuset_mems"),
    "cpu_quota": _quota,
    "memory_mib": lambda table: table.value("memory_mib", int),
    "env": _variables,
    "engine": _choice("engine", "docker"),
    "runtime": lambda table: table.name("runtime"),
    "image": lambda table: table.argument("image"),
    "network": _choice("network", "bridge", "host"),
    "security_opt": _texts("security_opt"),
    "cap_add": _texts("cap_add"),
    "cap_drop": _texts("cap_drop"),
    "privileged": _flag("privileged"),
    "no_new_privileges": _flag("no_new_privileges"),
    "read_only": _flag("read_only"),
    "tmpfs": _tmpfs,
    "userns": _choice("userns", "host"),
    "accelerator": _choice("accelerator", "kvm", "tcg"),
    "vcpus": partial(_count, key="vcpus"),
    "emulator_cpus": partial(_cpulist, key="emulator_cpus"),
    "hugepages": _flag("hugepages"),
    "disk_cache": _choice("disk_cache", "none", "writeback", "writethrough", "directsync", "unsafe"),
    "disk_io": _choice("disk_io", "threads", "native", "io_uring"),
}
"""Field -> how it is read from a table that has it; `within` and `server` name other tables."""
