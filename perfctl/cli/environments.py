"""perfctl environments: where a benchmark can run."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from perfctl.output import Column, Format, Table, emit, format_option

if TYPE_CHECKING:
    from perfctl.model import Environment


@click.command()
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
    from perfctl.environments import start_argv

    command = shlex.join(start_argv(environment))
    values = {
        "description": environment.description,
        "kind": environment.kind,
        "engine": environment.engine,
        "image": environment.image,
        "network": environment.network,
        "security_opt": " ".join(environment.security_opt),
        "cap_add": " ".join(environment.cap_add),
        "privileged": "yes" if environment.privileged else "no",
        "made by": command or "nothing: commands run on the host itself",
        "key": environment.key,
    }
    rows = [{"field": field, "value": value} for field, value in values.items()]
    legs = " ".join(f"--env {name}" for name in dict.fromkeys(["native", environment.name]))
    notes = [f"Try it: perfctl run --suite cpu {legs}"]
    return Table("environment", [Column("field"), Column("value")], rows, notes)
