"""A new project folder, and what is shown where there is none."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from perfctl.cli import COMMANDS, main_group
from perfctl.cli.settings import load_settings
from perfctl.inventory import load_hosts
from perfctl.render.project import FILES
from perfctl.suites import load_suite


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, value in (("PERFCTL_DB_URL", ""), ("XDG_CONFIG_HOME", "config"), ("PERFCTL_INVENTORY", "")):
        monkeypatch.setenv(name, value)
    return tmp_path


def invoke(*words: str) -> Result:
    return CliRunner().invoke(main_group, words)


def parsed(line: str) -> click.Context:
    """Return the context of a command line; nothing is carried out. Raises UsageError for a wrong one."""
    words = shlex.split(line)[1:]
    context = main_group.make_context("perfctl", words)
    while isinstance(context.command, click.Group):
        arguments = [*context._protected_args, *context.args]
        name, command, rest = context.command.resolve_command(context, arguments)
        assert command is not None
        context = command.make_context(name, rest, parent=context)
    return context


def test_an_empty_folder_shows_three_ways_to_start_whose_commands_there_are(here: Path) -> None:
    done = invoke()
    assert done.exit_code == 0
    ways = [part for part in done.output.split("\n\n") if "\n  perfctl " in part]
    assert len(ways) == 3
    commands = re.findall(r"^  (perfctl .*)$", done.output, re.MULTILINE)
    assert len(commands) == 13
    for line in commands:
        parsed(line)
    assert max(map(len, done.output.splitlines())) <= 100
    with pytest.raises(click.UsageError):
        parsed("perfctl run --suit cpu")


@pytest.mark.parametrize("part", ["perfctl.toml", "results.db", "inventory", "suites"])
def test_a_project_shows_the_help(part: str, here: Path) -> None:
    (here / part).touch()
    done = invoke()
    assert all(name in done.output for name in COMMANDS) and "Three ways" not in done.output


def test_init_makes_a_project_that_works(here: Path) -> None:
    done = invoke("init")
    assert done.exit_code == 0
    assert sorted(str(path.relative_to(here)) for path in here.rglob("*") if path.is_file()) == sorted(FILES)
    settings = load_settings(here, environ={})
    assert settings.database_url == str(here / "results.db")
    assert [host.name for host in load_hosts(settings.inventory)] == ["localhost"]
    suite = load_suite("example", project_dir=here)
    assert [item.name for item in suite.environments] == ["native", "container", "container-no-seccomp"]
    assert parsed(done.output.splitlines()[-1].partition(": ")[2]).command.name == "provision"


def test_what_stands_in_comments_is_valid_too(here: Path) -> None:
    invoke("init")
    settings = here / "perfctl.toml"
    settings.write_text(re.sub(r"^#(?=\w+ = )", "", settings.read_text(), flags=re.MULTILINE))
    assert set(tomllib.loads(settings.read_text())) == {"inventory", "db"}
    loaded = load_settings(here, environ={})
    assert loaded.inventory == (str(here / "inventory/hosts.yml"),) and not loaded.has_shared_database

    hosts = here / "inventory" / "hosts.yml"
    head, fleet = hosts.read_text().split("  #\n", 1)
    lines = [line.replace("  # ", "  ", 1).replace("# perf_", "perf_") for line in fleet.splitlines()]
    hosts.write_text("\n".join(["all:", *lines]))
    found = load_hosts((str(hosts),))
    assert [(host.name, host.address, host.test_address) for host in found] == [
        ("h1", "192.0.2.11", "10.77.0.11"),
        ("h2", "192.0.2.12", "10.77.0.12"),
    ]

    suite = here / "suites" / "example.toml"
    head, benchmark = suite.read_text().rsplit("#\n", 1)
    suite.write_text(head + benchmark.replace("# ", ""))
    assert [item.name for item in load_suite("example", project_dir=here).benchmarks] == [
        "primes",
        "round-trips",
    ]


def test_what_is_there_stays(here: Path) -> None:
    (here / "a b").mkdir()
    (here / "a b" / "perfctl.toml").write_text('db = "other.db"\n')
    done = invoke("init", "a b")
    assert "kept  a b/perfctl.toml\nwrote a b/inventory/hosts.yml\n" in done.output
    assert done.output.endswith("cd 'a b' && perfctl provision\n")
    assert (here / "a b" / "perfctl.toml").read_text() == 'db = "other.db"\n'
    assert "wrote" not in invoke("init", "a b").output


def test_a_file_in_the_way_is_an_error_with_its_path(here: Path) -> None:
    (here / "inventory").write_text("")
    done = invoke("init")
    assert isinstance(done.exception, Exception) and str(here / "inventory") in str(
        Path(str(done.exception)).absolute()
    )
