"""Every command that README and the pages print is one that perfctl takes; what needs no host is run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from perfctl.cli import main_group
from perfctl.store import open_store
from tests.unit import store_cases as cases
from tests.unit.history_cases import add_run

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GENERATED = "cli.md"

PLACEHOLDERS = {
    "N": "10",
    "NAME=VALUE": "time_s=2",
    "PERCENT": "2%",
    "BENCHMARK": "cpu-1",
    "METRIC": "events_per_s",
    "out.yaml": str(ROOT / "README.md"),
}
WITHOUT_HOSTS = (
    "runs",
    "show",
    "compare",
    "gate",
    "trend",
    "selftest",
    "query",
    "suites",
    "environments",
    "db info",
)
"""Commands that read the database or what comes with perfctl."""


_WORDS = re.compile(r"""(?:(?!#|&&|> )(?:'[^']*'|"[^"]*"|[^\s'"])+ ?)+""")
"""A command up to its comment, the next one, or two spaces: what follows says what it does."""


def commands_of(text: str) -> list[list[str]]:
    """Return the arguments of every perfctl command in the fenced blocks of a page."""
    found = []
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        lines = block.replace("\\\n", " ").splitlines()
        for place, line in enumerate(lines):
            match = re.match(r"(?:\$ )?(?:[A-Z_]+=\S+ )?perfctl (.*)", line)
            if match is None or "..." in line or "|" in line:
                continue
            text_of_it = match[1]
            following = iter(lines[place + 1 :])
            while text_of_it.count('"') % 2:
                text_of_it += " " + next(following)
            command = _WORDS.match(text_of_it)
            assert command is not None, line
            words = shlex.split(command[0])
            found.append([PLACEHOLDERS.get(word, word) for word in words])
    return found


EVERY = [
    pytest.param(words, id=f"{page.name}: {' '.join(words)}"[:80])
    for page in PAGES
    if page.name != GENERATED
    for words in commands_of(page.read_text())
]


def parse(words: list[str]) -> list[str]:
    """Parse a command line without running it, and return the names of its commands. Raises UsageError."""
    group: click.Command = main_group
    context = group.make_context("perfctl", list(words))
    names = []
    while isinstance(group, click.Group):
        name, command, rest = group.resolve_command(context, [*context._protected_args, *context.args])
        assert name is not None and command is not None
        context = command.make_context(name, rest, parent=context)
        names.append(name)
        group = command
    return names


def test_there_are_commands_on_the_pages() -> None:
    readme = [" ".join(words) for words in commands_of((ROOT / "README.md").read_text())]
    assert "-i inventory/ours run --suite net" in readme and "compare latest" in readme
    assert len(EVERY) > 30


@pytest.mark.parametrize("words", EVERY)
def test_a_printed_command_is_one_that_perfctl_takes(words: list[str]) -> None:
    assert parse(words)


def test_no_page_reads_a_whole_folder_of_inventories() -> None:
    for page in PAGES:
        assert not re.search(
            r"-i inventory/(?=[ `])", page.read_text().replace("**Name one inventory.** `-i inventory/`", "")
        ), page


def test_the_folder_that_readme_copies_is_there() -> None:
    (source,) = re.findall(r"cp -r (\S+) inventory/ours", (ROOT / "README.md").read_text())
    assert (ROOT / source / "hosts.yml").is_file()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERFCTL_DB_URL", "results.db")
    with open_store(tmp_path / "results.db", create=True) as store:
        add_run(store, ratio=0.9, blocks=10, benchmarks=[cases.CPU])
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(words, id=" ".join(words)[:60])
        for words in commands_of((ROOT / "README.md").read_text())
        if " ".join(parse(words)) in WITHOUT_HOSTS
    ],
)
def test_a_command_of_readme_that_needs_no_host_runs(project: Path, words: list[str]) -> None:
    done = CliRunner().invoke(main_group, words)
    assert done.exit_code == 0, done.output
