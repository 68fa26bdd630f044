"""perfctl environments: where a benchmark can run."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from perfctl.cli.command import Command
from perfctl.output import Column, Format, Table, emit, format_option

if TYPE_CHECKING:
    from perfctl.model import Environment


@click.command(cls=Command)
@click.argument("name", required=False)
@format_option
def environments(name: str | None, fmt: Format) -> None:
    """List the built-in environments, or show what one is made of."""
    from perfctl.environments import environment

    emit(_one(environment(name)) if name else _all(), fmt)


def _all() -> Table:
    from perfctl.environments import CATALOGUE

    columns = [
        Column("name", "environment"),
        Column("kind"),
        Column("network"),
        Column("relaxations", "what is not stock"),
        Column("description"),
    ]
    rows = [
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
        for each in CATALOGUE.values()
    ]
    return Table(
        "environments", columns, rows, ["Show one: perfctl environments NAME. Suites may define more."]
    )


def _relaxations(environment: Environment) -> list[str]:
    """Return the options of `docker run` that loosen or tighten the stock container."""
    options = [f"--security-opt {value}" for value in environment.security_opt]
    options += [f"--cap-add {value}" for value in environment.cap_add]
    return [*options, "--privileged"] if environment.privileged else options


def _one(environment: Environment) -> Table:
    rows = [{"field": field, "value": value} for field, value in _values(environment).items()]
    legs = " ".join(f"--env {name}" for name in dict.fromkeys(["native", environment.name]))
    suite = "net" if environment.server else "cpu"
    notes = [f"Try it: perfctl run --suite {suite} {legs}"]
    return Table("environment", [Column("field"), Column("value")], rows, notes)


def _values(environment: Environment) -> dict[str, str | int | float | None]:
    """Return every field of it, and the command that makes each layer and the server's side."""
    from perfctl.environments import traits_of
    from perfctl.environments.catalogue import default_vcpus

    values = {
        name: _shown(getattr(environment, name))
        for name in environment.__dataclass_fields__
        if name not in ("name", "within", "server")
    }
    if traits_of(environment).boots and environment.vcpus is None:
        values["vcpus"] = f"{default_vcpus('kvm')} (emulated: {default_vcpus('tcg')})"
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


def _made_by(environment: Environment) -> str:
    from perfctl.environments.drivers import start_argv

    return shlex.join(start_argv(environment)) or "nothing: commands run on the host itself"
