"""The options of `run` and `plan`: what is measured where."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from perfctl.cli.settings import Settings
    from perfctl.plan.request import RunRequest

_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--suite", metavar="NAME|FILE", help="What to measure; see: perfctl suites."),
    click.option(
        "--env",
        "environments",
        multiple=True,
        metavar="NAME",
        help="Where; repeatable.  [default: suite's]",
    ),
    click.option(
        "--benchmark",
        "benchmarks",
        multiple=True,
        metavar="NAME",
        help="Only this; repeatable. [default: all]",
    ),
    click.option(
        "--require",
        "required",
        multiple=True,
        metavar="ENV",
        help="Fail where a host refuses it; repeatable",
    ),
    click.option(
        "--blocks",
        type=click.IntRange(min=1),
        help="Fix the number of blocks: repetitions of the whole comparison.  [default: the suite's]",
    ),
    click.option(
        "--precision",
        metavar="PERCENT",
        help="Choose each benchmark's blocks, 10 to 30, for ratios ± this, e.g. 1%.  [default: the suite's]",
    ),
    click.option(
        "--param",
        "parameters",
        multiple=True,
        metavar="NAME=VALUE",
        help="Set a parameter of the benchmarks",
    ),
    click.option("--limit", metavar="PATTERN", help="Only these hosts of the inventory."),
    click.option("--seed", help="Seed of the random order.  [default: the run's id]"),
    click.option("--max-parallel-pairs", type=click.IntRange(min=1), metavar="N", help="Most pairs at once."),
    click.option(
        "--no-host-view",
        "host_view",
        flag_value=False,
        default=True,
        help="Do not read the host's processes before, during and after each benchmark.",
    ),
    click.option(
        "--validity",
        multiple=True,
        metavar="RULE=FLAG,INVALID",
        help="Limits above which an invocation is flagged, is invalid; a number or never.",
    ),
    click.option(
        "--preflight",
        multiple=True,
        metavar="RULE=WARN,REFUSE",
        help="Limits above which a host is warned of, is refused before the run.",
    ),
)


def request_options(command: _Command) -> _Command:
    """Give a command the options of a request; they have the names of its fields."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def request_of(settings: Settings, options: Mapping[str, Any], *, force: bool = False) -> RunRequest:
    """Return the request that the options of a command line make. Raises UsageError."""
    from perfctl.cli.variables import parse_parameters
    from perfctl.plan.request import RunRequest
    from perfctl.validity.thresholds import parse_thresholds

    others = dict(options)
    if others["suite"] is None:
        raise click.UsageError("Missing option '--suite'.", click.get_current_context())
    return RunRequest(
        parameters=parse_parameters(others.pop("parameters")),
        thresholds=parse_thresholds(others.pop("validity"), others.pop("preflight")),
        **others,
        inventory=settings.inventory,
        project_dir=settings.project_dir,
        force=force,
    )


def given(names: Iterable[str]) -> list[str]:
    """Return those of these options that the command line has, as they are typed."""
    context, wanted = click.get_current_context(), set(names)
    return [
        option.opts[0]
        for option in context.command.params
        if option.name in wanted and context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE
    ]
