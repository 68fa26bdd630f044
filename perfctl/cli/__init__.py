"""The command line: one file per command; each parses, calls one function below, and prints.

Only the standard library and click are imported here, and a command's module only when that command is asked
for: `perfctl --help` costs a tenth of what eager imports would (a test holds this).
"""

from __future__ import annotations

import importlib
from difflib import get_close_matches

import click

from perfctl import __version__
from perfctl.cli.command import Group

COMMANDS: dict[str, tuple[str, str]] = {
    "lab": ("perfctl.cli.lab:lab", "A fleet of systemd hosts on this machine, for trying and testing."),
    "provision": ("perfctl.cli.provision:provision", "Prepare the hosts for runs."),
    "verify": ("perfctl.cli.verify:verify", "Check that the hosts are as provisioned; drift is exit 7."),
    "suites": ("perfctl.cli.suites:suites", "List the suites, or show one."),
    "benchmarks": ("perfctl.cli.benchmarks:benchmarks", "List the workloads, or show one."),
    "workloads": ("perfctl.cli.workloads:workloads", "Check programs of your own, defined in TOML."),
    "environments": ("perfctl.cli.environments:environments", "List the environments, or show one."),
    "run": ("perfctl.cli.run:run", "Measure a suite and store every sample."),
    "resume": ("perfctl.cli.resume:resume", "Finish a run that was stopped."),
    "reap": ("perfctl.cli.reap:reap", "End and remove what a killed run left on its hosts."),
    "hosts": ("perfctl.cli.hosts:hosts", "Who holds which host, and what runs have left there."),
    "runs": ("perfctl.cli.runs:runs", "List the runs in the database."),
    "show": ("perfctl.cli.show:show", "Show one run: plan, hosts, failures."),
    "compare": ("perfctl.cli.compare:compare", "What each environment costs against the baseline."),
    "odd-hosts": (
        "perfctl.cli.odd_hosts:odd_hosts",
        "Hosts that differ from the others, and what tells them apart.",
    ),
    "report": ("perfctl.cli.report:report", "A run as one HTML file, to read and to forward."),
    "plot": ("perfctl.cli.plot:plot", "One kind of chart of a run, as SVG or on the terminal."),
    "export": ("perfctl.cli.export:export", "Samples or comparisons in the formats of other programs."),
    "gate": ("perfctl.cli.gate:gate", "Exit 5 when an environment costs more than it may."),
    "trend": ("perfctl.cli.trend:trend", "One benchmark over all runs, and where it changed."),
    "why": ("perfctl.cli.why:why", "From a value in a table to blocks, invocations and output lines."),
    "selftest": (
        "perfctl.cli.selftest:selftest",
        "Check perfctl itself: how often the baseline differs from itself.",
    ),
    "query": ("perfctl.cli.query:query", "Read-only SQL over the views v_run, v_value, v_sample, ..."),
    "explore": ("perfctl.cli.explore:explore", "Browse the results database in Datasette."),
    "db": ("perfctl.cli.db:db", "Describe, check, copy or upgrade the results database."),
}
"""Name -> (module:attribute, one line for --help), in the order in which a user meets them."""


class LazyGroup(Group):
    """A group that imports a command's module only when that command runs or shows its own help."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command, or None."""
        if cmd_name not in COMMANDS:
            return None
        module_name, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module_name), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module_name}:{attribute} is no click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command of these arguments; a name that is none is answered with what comes close."""
        name = args[0]
        if name in COMMANDS or name.startswith("-"):
            return super().resolve_command(ctx, args)
        close = {"version": "--version", "help": "--help"}.get(name) or next(
            iter(get_close_matches(name, COMMANDS, n=1)), ""
        )
        hint = f" Did you mean: perfctl {close}?" if close else ""
        raise click.UsageError(f"No such command {name!r}.{hint}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="perfctl")
def main_group() -> None:
    """What a container, a VM or a setting costs on your machines, and how sure that is."""


__all__ = ["COMMANDS", "LazyGroup", "main_group"]
