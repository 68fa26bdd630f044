"""Names that a shell completes: runs, suites, workloads, benchmarks, environments and hosts.

`NAMES` has what a parameter takes, by what its command's function calls it. What cannot be read has no
names: while a command is typed there is no place for an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click
from click.shell_completion import CompletionItem

from perfctl.errors import PerfctlError
from perfctl.output.text import joined_lines, visible

if TYPE_CHECKING:
    from perfctl.model import Suite
    from perfctl.store import RunDetail


class Settings(Protocol):
    """What is read of the settings to find names."""

    @property
    def project_dir(self) -> Path: ...

    @property
    def database_url(self) -> str: ...

    @property
    def inventory(self) -> tuple[str, ...]: ...


Names = Callable[[Settings, click.Context], Iterable[tuple[str, str]]]
"""Names to choose from in a command that is being typed, each with a few words that zsh and fish show."""


def completions(
    name: str, settings_of: Callable[[click.Context], Settings], ctx: click.Context, incomplete: str
) -> list[CompletionItem[Any]]:
    """Return what a shell may put in the place of an incomplete word; `name` is the parameter's.

    `settings_of` returns the settings by the options that were typed so far. What cannot be read has no
    names. The shell itself completes paths.
    """
    if name in PATHS or (name in NAMES and "/" in incomplete):
        return [CompletionItem(incomplete, type="file")]
    try:
        found = dict(NAMES[name](settings_of(ctx), ctx)) if name in NAMES else {}
    except PerfctlError:
        return []
    return [
        CompletionItem(word, help=visible(joined_lines(text)))
        for word, text in found.items()
        if word.startswith(incomplete) and word.isprintable()
    ]


def _runs(settings: Settings, ctx: click.Context) -> Iterator[tuple[str, str]]:
    from perfctl.store import open_store

    with open_store(settings.database_url, read_only=True) as store:
        runs = store.runs()
    if runs:
        yield "latest", "the newest run"
    for run in reversed(runs):
        yield run.run_id, f"{run.suite} on {', '.join(run.hosts)}: {run.status}"


def _run(settings: Settings, ctx: click.Context) -> RunDetail:
    """Return the run that is given, else the newest."""
    from perfctl.store import open_store

    with open_store(settings.database_url, read_only=True) as store:
        return store.run(ctx.params.get("run") or "latest").detail()


def _suites(settings: Settings, ctx: click.Context) -> Iterable[tuple[str, str]]:
    from perfctl.suites import list_suites

    return ((suite.name, suite.description) for suite in list_suites(settings.project_dir))


def _suite(settings: Settings, ctx: click.Context) -> Suite | None:
    from perfctl.suites import load_suite

    name = ctx.params.get("suite")
    return load_suite(name, project_dir=settings.project_dir) if name else None


def _planned_environments(settings: Settings, ctx: click.Context) -> Iterable[tuple[str, str]]:
    from perfctl.environments.catalogue import CATALOGUE

    suite = _suite(settings, ctx)
    known = [*(suite.environments if suite else ()), *CATALOGUE.values()]
    return ((item.name, item.description) for item in known)


def _is_before_a_run(ctx: click.Context) -> bool:
    return any(param.name == "suite" for param in ctx.command.params)


def _environments(settings: Settings, ctx: click.Context) -> Iterable[tuple[str, str]]:
    if _is_before_a_run(ctx):
        return _planned_environments(settings, ctx)
    return ((item.name, item.description) for item in _run(settings, ctx).environments)


def _benchmarks(settings: Settings, ctx: click.Context) -> Iterable[tuple[str, str]]:
    if _is_before_a_run(ctx):
        suite = _suite(settings, ctx)
        return ((item.name, item.workload) for item in (suite.benchmarks if suite else ()))
    return ((item.name, item.workload) for item in _run(settings, ctx).benchmarks)


def _measured_hosts(settings: Settings, ctx: click.Context) -> Iterable[tuple[str, str]]:
    return ((name, "") for name in _run(settings, ctx).summary.hosts)


def _hosts(settings: Settings, ctx: click.Context) -> Iterable[tuple[str, str]]:
    from perfctl.inventory import load_hosts

    return ((host.name, host.address) for host in load_hosts(settings.inventory))


def _workloads(settings: Settings, ctx: click.Context) -> Iterable[tuple[str, str]]:
    from perfctl.workloads import WORKLOADS

    return ((name, "") for name in WORKLOADS)


def _listed(settings: Settings, ctx: click.Context) -> Iterable[tuple[str, str]]:
    """Return what a command lists that shows one of its list when it gets a name."""
    of_command = {"suites": _suites, "benchmarks": _workloads, "environments": _planned_environments}
    names = of_command.get(ctx.command.name or "")
    return names(settings, ctx) if names else ()


NAMES: dict[str, Names] = {
    **dict.fromkeys(("run", "other_run", "baseline_run", "runs"), _runs),
    **dict.fromkeys(("environment", "environments", "required", "baseline"), _environments),
    **dict.fromkeys(("benchmark", "benchmarks"), _benchmarks),
    **dict.fromkeys(("host", "hosts"), _measured_hosts),
    "limit": _hosts,
    "suite": _suites,
    "name": _listed,
}
"""What a parameter names, by its own name in the command's function."""

PATHS = frozenset(("inventory", "database", "other"))
"""Parameters that take a path, or what is not on this machine."""
