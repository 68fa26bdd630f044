"""What a shell offers while a command line is typed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from perfctl.cli import COMMANDS, main_group
from perfctl.output.names import NAMES
from perfctl.store import open_store
from tests.unit.report_cases import Fleet, add_fleet

FLEET = Fleet(hosts=("h1", "h2"), benchmarks=("tcp-rr",), environments=("native", "container"), blocks=2)
SUITE = """
[suite]
description = "two\\nlines"
environments = ["native", "tight"]
[environments.tight]
kind = "container"
[[benchmark]]
name = "primes"
workload = "sysbench"
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "suites").mkdir()
    (folder / "suites" / "ours.toml").write_text(SUITE)
    (folder / "hosts.yml").write_text("all: {hosts: {perf-a: {ansible_host: 192.0.2.1}, perf-b: {}}}")
    (folder / "perfctl.toml").write_text('inventory = ["hosts.yml"]\n')
    with open_store(folder / "results.db", create=True) as store:
        add_fleet(store, FLEET)
    return folder


def offered(project: Path, *words: str) -> list[str]:
    """Return what is offered for the last word, which is incomplete."""
    shell = ShellComplete(main_group, {}, "perfctl", "_PERFCTL_COMPLETE")
    found = shell.get_completions(["--project", str(project), *words[:-1]], words[-1])
    assert all("\n" not in (item.help or "") for item in found)
    return [str(item.value) for item in found]


def test_commands_and_options_are_offered() -> None:
    shell = ShellComplete(main_group, {}, "perfctl", "_PERFCTL_COMPLETE")
    assert [item.value for item in shell.get_completions([], "")] == list(COMMANDS)
    assert [item.value for item in shell.get_completions(["plot"], "--in")] == [
        "--in-terminal",
        "--inventory",
    ]


def test_names_are_those_of_the_database(project: Path) -> None:
    latest, run = offered(project, "compare", "")
    assert latest == "latest" and len(run) == 36
    assert offered(project, "compare", "latest", run[:8]) == [run]
    assert offered(project, "gate", "latest", "--baseline", "la") == ["latest"]
    assert offered(project, "plot", "latest", "--host", "") == ["h1", "h2"]
    assert offered(project, "why", run, "x", "--benchmark", "") == ["tcp-rr"]
    assert offered(project, "compare", "latest", "--baseline", "") == ["native", "container"]
    assert offered(project, "trend", "") == ["tcp-rr"]


def test_names_are_those_of_suites_and_the_inventory(project: Path) -> None:
    assert "ours" in offered(project, "run", "--suite", "") and "cpu" in offered(
        project, "run", "--suite", ""
    )
    assert offered(project, "run", "--suite", "ours", "--env", "t") == ["tight"]
    assert offered(project, "run", "--suite", "ours", "--benchmark", "") == ["primes"]
    assert offered(project, "run", "--limit", "perf") == ["perf-a", "perf-b"]
    assert offered(project, "environments", "vm-to-n") == ["vm-to-native"]
    assert "sysbench" in offered(project, "benchmarks", "")
    assert offered(project, "suites", "ou") == ["ours"]
    assert offered(project, "export", "latest", "--format", "j") == ["json", "jsonl", "junit"]
    assert offered(project, "lab", "up", "--name", "") == []


def test_the_shell_completes_paths() -> None:
    shell = ShellComplete(main_group, {}, "perfctl", "_PERFCTL_COMPLETE")
    for words in (["--db"], ["runs", "-i"], ["run", "--suite"]):
        (item,) = shell.get_completions(words, "sui/")
        assert (item.value, item.type) == ("sui/", "file")


def test_what_cannot_be_read_offers_nothing(tmp_path: Path) -> None:
    (tmp_path / "perfctl.toml").write_text("nonsense = 1\n")
    assert offered(tmp_path, "compare", "") == []
    (tmp_path / "perfctl.toml").write_text("")
    assert offered(tmp_path, "compare", "") == []
    assert offered(tmp_path, "run", "--suite", "none", "--env", "") == []


def test_every_parameter_that_names_something_is_completed() -> None:
    """One of that kind with another name would complete nothing, and nobody would see it."""
    context = click.Context(main_group)
    texts: dict[str, set[str]] = {}
    for name in main_group.list_commands(context):
        command = main_group.get_command(context, name)
        assert command is not None
        several = command.commands.values() if isinstance(command, click.Group) else [command]
        for param in (param for each in several for param in each.params if param.type.name == "text"):
            texts.setdefault(param.name or "", set()).add((param.metavar or param.name or "").strip("[]."))
    assert set(NAMES) <= set(texts), "every name is that of a parameter"
    named = {
        name for name, metavars in texts.items() if metavars & {"RUN", "RUN2", "run", "ENV", "NAME|FILE"}
    }
    assert {"run", "other_run", "baseline_run", "runs", "required", "suite"} <= named <= set(NAMES)


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_the_shell_itself_completes(shell: str, project: Path, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(CliRunner().invoke(main_group, ["completion", shell]).output)
    program = tmp_path / "perfctl"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m perfctl "$@"\n')
    program.chmod(0o755)
    typed = {
        "bash": f"cd {project}; . {script}; COMP_WORDS=(perfctl trend ''); COMP_CWORD=2; "
        "_perfctl_completion perfctl; echo ${COMPREPLY[*]}",
        "fish": f"cd {project}; source {script}; complete -C 'perfctl trend '",
    }[shell]
    path = shutil.which(shell)
    assert path is not None, "make test-packages"
    done = subprocess.run(
        [path, "-c", typed],
        env={
            **os.environ,
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(sys.path),
            "HOME": str(tmp_path),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.split()[0] == "tcp-rr", done.stderr


def test_zsh_gets_its_script() -> None:
    done = CliRunner().invoke(main_group, ["completion", "zsh"])
    assert done.output.startswith("#compdef perfctl") and "_PERFCTL_COMPLETE=zsh_complete" in done.output
