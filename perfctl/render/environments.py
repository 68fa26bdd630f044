"""`environments`: where a benchmark can run, and what one environment is made of."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from perfctl.environments import traits_of
from perfctl.environments.catalogue import default_vcpus
from perfctl.environments.container.docker import security_options
from perfctl.environments.drivers import start_argv
from perfctl.model import Environment
from perfctl.render.view import Column, View, columns


def environments_view(environments: Iterable[Environment], suite: str | None = None) -> View:
    """Return the view of all environments, or those of a suite."""
    fields = [
        Column("name", "environment"),
        *columns("kind", "network"),
        Column("relaxations", "what is not stock"),
        Column("description"),
    ]
    records = [
        {
            "name": each.name,
            "kind": each.kind,
            "network": each.network,
            "relaxations": " ".join(_relaxations(each)),
            "description": each.description,
            "engine": each.engine,
            "image": each.image,
            "vcpus": each.vcpus,
            "memory_mib": each.memory_mib,
            "within": each.within.name if each.within else None,
            "server": each.server.name if each.server else None,
            "key": each.key,
        }
        for each in environments
    ]
    hint = "Show one: perfctl environments NAME. Suites may define more: perfctl environments --suite SUITE."
    if suite is not None:
        hint = f"Show one: perfctl environments NAME --suite {suite}."
    return View("environments", fields, records, footer=[hint])


def environment_view(environment: Environment, suite: str | None = None) -> View:
    """Return the view of one environment, field by field; `suite` defines it where it is not built in."""
    legs = " ".join(f"--env {name}" for name in dict.fromkeys(["native", environment.name]))
    suite = suite or ("net" if environment.server else "cpu")
    hint = f"Try it: perfctl run --suite {suite} {legs}"
    records = [{"field": field, "value": value} for field, value in _values(environment).items()]
    return View("environment", columns("field", "value"), records, footer=[hint])


def _relaxations(environment: Environment) -> list[str]:
    """Return the options of `docker run` that loosen, tighten or replace parts of the stock container."""
    options = ["--runtime", environment.runtime] if environment.runtime else []
    return [*options, *security_options(environment, profile=_profile(environment))]


def _profile(environment: Environment) -> str:
    digest = environment.seccomp_profile_sha256
    return f"sha256:{digest[:12]}" if digest else ""


def _values(environment: Environment) -> dict[str, str | int | float | None]:
    """Return every field of it, and the command that makes each layer and the server's side."""
    values = {
        name: _shown(getattr(environment, name))
        for name in environment.__dataclass_fields__
        if name not in ("name", "within", "server")
    }
    values["seccomp_profile"] = environment.seccomp_profile_sha256
    if traits_of(environment).boots and environment.vcpus is None:
        values["vcpus"] = f"{default_vcpus('kvm')} (emulated: {default_vcpus('tcg')})"
    values["kernel"] = _kernel(environment)
    values["made by"] = _made_by(environment)
    if environment.within:
        values["within"] = environment.within.name
        values["within made by"] = _made_by(environment.within)
    if environment.server:
        values["server"] = environment.server.name
        values["server made by"] = _made_by(environment.server)
    values["key"] = environment.key
    return values


def _shown(value: object) -> str | int | float | None:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join("=".join(item) if isinstance(item, tuple) else item for item in value)
    return value if isinstance(value, (str, int, float)) else None


def _kernel(environment: Environment) -> str:
    """Return whose kernel its commands run on."""
    owner = next((layer for layer in environment.layers if traits_of(layer).has_own_kernel), None)
    if owner is None:
        return "the host's"
    return "its own" if owner is environment else f"that of {owner.name}"


def _made_by(environment: Environment) -> str:
    return shlex.join(start_argv(environment)) or "nothing: commands run on the host itself"
