"""The environments that a suite file defines itself. docs/suites.md has the table of their keys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, cast

from perfctl.environments.catalogue import CATALOGUE, IMAGE, VM_MEMORY_MIB, default_vcpus
from perfctl.environments.limits import parse_cpulist
from perfctl.errors import SuiteError
from perfctl.model import Environment
from perfctl.suites.table import Table, close_hint

_KINDS = ("native", "container", "vm")
_EVERY_KIND = ("description", "cpuset_cpus", "cpuset_mems", "memory_mib", "server")
_CONTAINER = ("engine", "image", "network", "security_opt", "cap_add", "privileged", "within")
_VM = ("accelerator", "vcpus", "emulator_cpus", "hugepages", "disk_cache", "disk_io")
_KEYS: Mapping[str, tuple[str, ...]] = {
    "native": (*_EVERY_KIND, "cpu_quota"),
    "container": (*_EVERY_KIND, "cpu_quota", *_CONTAINER),
    "vm": (*_EVERY_KIND, *_VM),
}
_ALL_KEYS = ("kind", *_EVERY_KIND, "cpu_quota", *_CONTAINER, *_VM)

_MIN_MEMORY_MIB = {"native": 6, "container": 6, "vm": 64}
"""Docker takes no limit below 6 MiB; a Linux guest does not come up in less than 64."""

_INSTEAD: Mapping[tuple[str, str], str] = {
    ("vm", "cpu_quota"): "give it fewer vcpus, or pin them with cpuset_cpus: a guest's quota would have to "
    "pay for qemu's own threads too",
    ("vm", "image"): "a guest boots the image that perfctl provision made for it",
    ("vm", "network"): "a guest is always on the test network's bridge",
    ("vm", "within"): "a guest in a guest is not supported",
    ("native", "within"): "commands in a guest are what a vm runs: name the vm itself",
}
_CONTAINER_IN_VM = 'a container in a guest may have it: kind = "container", within = "vm"'


class Definitions:
    """The tables of a file's environments, which may name each other in any order."""

    def __init__(self, tables: Mapping[str, Any], *, path: str) -> None:
        """Take the tables by name; `path` is named in errors. Raises SuiteError for a built-in's name."""
        self._tables = tables
        self._path = path
        self._read: dict[str, Environment] = {}
        for name in tables:
            if name in CATALOGUE:
                raise SuiteError(
                    f"{name} is a built-in environment", where=self._where(name), hint="give it another name"
                )

    def environments(self) -> dict[str, Environment]:
        """Return all of them by name. Raises SuiteError for a wrong key, type, value or combination."""
        return {name: self._environment(name, ()) for name in self._tables}

    def _where(self, name: str) -> str:
        return f"{self._path}: [environments.{name}]"

    def _environment(self, name: str, askers: tuple[str, ...]) -> Environment:
        if name not in self._read:
            table = Table(self._tables[name], where=self._where(name), keys=_ALL_KEYS)
            kind = table.choice("kind", _KINDS)
            _refuse_foreign_keys(table, kind)
            within = self._named(table, "within", (*askers, name))
            server = self._named(table, "server", (*askers, name))
            _check_composition(table, within, server)
            self._read[name] = read_environment(name, table, within=within, server=server)
        return self._read[name]

    def _named(self, table: Table, key: str, askers: tuple[str, ...]) -> Environment | None:
        name = table.optional(key, str)
        if name is None:
            return None
        if name in askers:
            circle = " -> ".join((*askers[askers.index(name) :], name))
            raise table.wrong(key, f"leads back to itself: {circle}", hint="leave one of them out")
        if name in CATALOGUE:
            return CATALOGUE[name]
        if name not in self._tables:
            known = (*CATALOGUE, *self._tables)
            hint = close_hint(name, known, otherwise=f"there are: {', '.join(known)}")
            raise table.wrong(key, f"has no environment {name!r} to name", hint=hint)
        return self._environment(name, askers)


def read_environment(
    name: str, table: Table, *, within: Environment | None, server: Environment | None
) -> Environment:
    """Return the environment of one table; what it does not say is as in the built-in one of its kind.

    Raises SuiteError for a wrong type or value.
    """
    kind = cast(Literal["native", "container", "vm"], table.choice("kind", _KINDS))
    fields: dict[str, Any] = {
        "description": table.value("description", str, ""),
        "cpuset_cpus": _cpulist(table, "cpuset_cpus"),
        "cpuset_mems": _cpulist(table, "cpuset_mems"),
        "cpu_quota": _quota(table),
        "memory_mib": _at_least(table, "memory_mib", _MIN_MEMORY_MIB[kind]),
        "within": within,
        "server": server,
    }
    if kind == "container":
        fields |= _container(table)
    if kind == "vm":
        fields |= _vm(table, fields)
    environment = Environment(name=name, kind=kind, **fields)
    if within is not None:
        _check_fits(table, environment, within)
    return environment


def _container(table: Table) -> dict[str, Any]:
    return {
        "engine": table.choice("engine", ("docker",), "docker"),
        "image": table.value("image", str, IMAGE),
        "network": table.choice("network", ("bridge", "host"), "bridge"),
        "security_opt": table.texts("security_opt"),
        "cap_add": table.texts("cap_add"),
        "privileged": table.value("privileged", bool, False),
    }


def _vm(table: Table, fields: Mapping[str, Any]) -> dict[str, Any]:
    cpus = parse_cpulist(fields["cpuset_cpus"]) if fields["cpuset_cpus"] else ()
    vcpus = _at_least(table, "vcpus", 1)
    if vcpus and cpus and vcpus != len(cpus):
        raise table.wrong(
            "vcpus",
            f"does not go with cpuset_cpus, which has {len(cpus)}: each vCPU is pinned to one of them",
            hint=f"vcpus = {len(cpus)}, or leave it out",
        )
    cache = _optional_choice(
        table, "disk_cache", ("none", "writeback", "writethrough", "directsync", "unsafe")
    )
    io = _optional_choice(table, "disk_io", ("threads", "native", "io_uring"))
    if io == "native" and cache not in ("none", "directsync"):
        raise table.wrong(
            "disk_io", "needs a disk that the host does not cache", hint='disk_cache = "none" or "directsync"'
        )
    return {
        "memory_mib": fields["memory_mib"] or VM_MEMORY_MIB,
        "accelerator": _optional_choice(table, "accelerator", ("kvm", "tcg")),
        "vcpus": vcpus or len(cpus) or None,
        "emulator_cpus": _cpulist(table, "emulator_cpus"),
        "hugepages": table.value("hugepages", bool, False),
        "disk_cache": cache,
        "disk_io": io,
    }


def _refuse_foreign_keys(table: Table, kind: str) -> None:
    for key in _ALL_KEYS[1:]:
        if table.has(key) and key not in _KEYS[kind]:
            if kind == "vm":
                hint = _INSTEAD.get((kind, key), _CONTAINER_IN_VM)
            else:
                hint = _INSTEAD.get((kind, key), f'kind = "{"vm" if key in _VM else "container"}"?')
            raise SuiteError(f"a {kind} environment has no {key}", where=table.where, hint=hint)


def _check_composition(table: Table, within: Environment | None, server: Environment | None) -> None:
    if within is not None and within.kind != "vm":
        raise table.wrong("within", f"must be a vm, not a {within.kind}", hint='within = "vm"')
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
    """Refuse limits of a container that are none in its guest."""
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


def _cpulist(table: Table, key: str) -> str | None:
    text = table.optional(key, str)
    if text is None:
        return None
    try:
        parse_cpulist(text)
    except ValueError as error:
        raise table.wrong(key, str(error), hint=f'as in {key} = "0-3,8"') from error
    return text


def _quota(table: Table) -> float | None:
    quota = table.number("cpu_quota")
    if quota is None:
        return None
    # Systemd before 250 takes whole per cents only.
    if not (quota >= 0.01 and math.isfinite(quota)) or not math.isclose(quota * 100, round(quota * 100)):
        raise table.wrong("cpu_quota", "must be above 0, in steps of 0.01 CPUs", hint="cpu_quota = 1.5")
    return quota


def _at_least(table: Table, key: str, lowest: int) -> int | None:
    value = table.optional(key, int)
    if value is not None and value < lowest:
        raise table.wrong(key, f"must be at least {lowest}")
    return value


def _optional_choice(table: Table, key: str, choices: tuple[str, ...]) -> str | None:
    return table.choice(key, choices) if table.has(key) else None
