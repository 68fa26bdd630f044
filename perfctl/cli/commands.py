"""Every command, and where it is: nothing of them is imported before one is asked for."""

from __future__ import annotations

COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("perfctl.cli.init:init", "Make a project folder, with comments in its files."),
    "lab": ("perfctl.cli.lab:lab", "A fleet of systemd hosts on this machine, for trying and testing."),
    "provision": ("perfctl.cli.provision:provision", "Prepare the hosts for runs."),
    "verify": ("perfctl.cli.verify:verify", "Check that the hosts are as provisioned; drift is exit 7."),
    "suites": ("perfctl.cli.suites:suites", "List the suites, or show one."),
    "benchmarks": ("perfctl.cli.benchmarks:benchmarks", "List the workloads, or show one."),
    "workloads": ("perfctl.cli.workloads:workloads", "Check programs of your own, defined in TOML."),
    "environments": ("perfctl.cli.environments:environments", "List the environments, or show one."),
    "plan": ("perfctl.cli.plan:plan", "Make a run without beginning it, for several controllers."),
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
    "plot": ("perfctl.cli.plot:plot", "One kind of chart of a run, as SVG, PNG or on the terminal."),
    "export": ("perfctl.cli.export:export", "Samples or comparisons in the formats of other programs."),
    "gate": ("perfctl.cli.gate:gate", "Exit 5 when an environment costs more than it may."),
    "trend": ("perfctl.cli.trend:trend", "One benchmark over all runs, and where it changed."),
    "why": ("perfctl.cli.why:why", "From a value in a table to blocks, invocations and output lines."),
    "explain": ("perfctl.cli.explain:explain", "Which counters of the hosts moved with a difference."),
    "facts": ("perfctl.cli.facts:facts", "What differs between two environments, hosts or runs."),
    "selftest": (
        "perfctl.cli.selftest:selftest",
        "Check perfctl itself: how often the baseline differs from itself.",
    ),
    "query": ("perfctl.cli.query:query", "Read-only SQL over the views v_run, v_value, v_sample, ..."),
    "explore": ("perfctl.cli.explore:explore", "Browse the results database in Datasette."),
    "bundle": ("perfctl.cli.bundle:bundle", "One run as one file that can be checked and read again."),
    "db": ("perfctl.cli.db:db", "Describe, check, copy, merge, prune or upgrade the results database."),
    "completion": ("perfctl.cli.completion:completion", "Complete command lines in bash, zsh or fish."),
}
"""Name -> (module:attribute, one line for --help), in the order in which a user meets them."""
