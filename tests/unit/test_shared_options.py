"""The options of every command: before it, after it, and between a group and its command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from perfctl.cli import main_group
from perfctl.cli.command import SHARED_OPTIONS, Command, Group, repeat_options
from perfctl.cli.format import FormatName
from perfctl.cli.settings import Settings, load_settings
from perfctl.errors import UsageError

SettingsOf = Callable[..., Settings]


def _commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _commands(command, *path, name)
        else:
            yield (*path, name), command


COMMANDS = dict(_commands(main_group))
EACH_COMMAND = pytest.mark.parametrize("path", COMMANDS, ids=" ".join)


def _needed(command: click.Command) -> list[str]:
    """Return the fewest arguments that a command accepts."""
    words: list[str] = []
    for param in command.params:
        if param.required:
            words += [_value(param)] if isinstance(param, click.Argument) else [param.opts[0], _value(param)]
    return words


def _value(param: click.Parameter) -> str:
    """Return a value that a parameter accepts: of a choice the first one."""
    if isinstance(param.type, click.Choice):
        return str(param.type.choices[0])
    return "csv" if isinstance(param.type, FormatName) else "1%"


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty working directory; neither environment nor user configuration names anything."""
    for name in ("PERFCTL_INVENTORY", "PERFCTL_DB_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    folder = tmp_path / "empty"
    for name in ("elsewhere", "one", "two"):
        (folder / name).mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def settings_of(empty: Path, monkeypatch: pytest.MonkeyPatch) -> SettingsOf:
    """Return a function that gives the settings which a command's function would get."""

    def settings(path: tuple[str, ...], *words: str) -> Settings:
        command, found = COMMANDS[path], []
        probe = click.pass_obj(lambda settings, **_: found.append(settings))
        monkeypatch.setattr(command, "callback", probe)
        result = CliRunner().invoke(main_group, [*words, *_needed(command)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        (one,) = found
        assert isinstance(one, Settings)
        return one

    return settings


@EACH_COMMAND
def test_options_after_the_command_say_the_same_as_before_it(
    path: tuple[str, ...], settings_of: SettingsOf, empty: Path
) -> None:
    options = ["-i", "a.yml", "--inventory", "b.yml", "--db", "x.db", "--project", "elsewhere", "--debug"]
    expected = Settings(empty / "elsewhere", ("a.yml", "b.yml"), "x.db", debug=True)
    for place in range(len(path) + 1):
        assert settings_of(path, *path[:place], *options, *path[place:]) == expected


@EACH_COMMAND
def test_what_is_given_last_counts(path: tuple[str, ...], settings_of: SettingsOf, empty: Path) -> None:
    before = ["-i", "a.yml", "-i", "b.yml", "--db", "x.db", "--project", "one"]
    after = ["-i", "c.yml", "--db", "y.db", "--project", "two"]
    assert settings_of(path, *before, *path, *after) == Settings(empty / "two", ("c.yml",), "y.db")
    # One that is not given again stays as it was.
    assert settings_of(path, *before, *path, *after[2:]).inventory == ("a.yml", "b.yml")


def test_a_group_between_counts_less_than_its_command(settings_of: SettingsOf) -> None:
    words = ["--db", "x.db", "db", "--db", "y.db", "info"]
    assert settings_of(("db", "info"), *words).database_url == "y.db"
    assert settings_of(("db", "info"), *words, "--db", "z.db").database_url == "z.db"


def test_the_configuration_is_that_of_the_project_given_after_the_command(
    settings_of: SettingsOf, empty: Path
) -> None:
    (empty / "perfctl.toml").write_text("this is no TOML")
    other = empty / "other"
    other.mkdir()
    (other / "perfctl.toml").write_text('inventory = ["hosts.yml"]\ndb = "own.db"\n')
    found = settings_of(("runs",), "runs", "--project", "other")
    assert found == Settings(other, (str(other / "hosts.yml"),), str(other / "own.db"))
    assert CliRunner().invoke(main_group, ["runs", "--help"]).exit_code == 0
    assert isinstance(CliRunner().invoke(main_group, ["runs"]).exception, UsageError)


@EACH_COMMAND
def test_help_lists_the_shared_options_below_the_command_s_own(path: tuple[str, ...]) -> None:
    text = CliRunner().invoke(main_group, [*path, "--help"]).output
    own, title, shared = text.partition("\nOptions of every command:\n")
    assert title
    assert "--help" in own
    for option in SHARED_OPTIONS:
        assert option.opts[0] in shared
        assert f"  {option.opts[0]} " not in own


@pytest.mark.parametrize(
    ("words", "usage", "complaint"),
    [
        (["runs", "--dbb", "x"], "perfctl runs", "No such option '--dbb'"),
        (["version"], "perfctl", "perfctl --version"),
        (["help"], "perfctl", "perfctl --help"),
        (["comprae"], "perfctl", "perfctl compare"),
        (["qqqqqq"], "perfctl", "No such command"),
        (["runs", "--project", "file"], "perfctl runs", "Invalid value for '--project'"),
        (["--project", "file", "runs"], "perfctl", "Invalid value for '--project'"),
        (["lab", "--project", "file", "status"], "perfctl lab", "Invalid value for '--project'"),
    ],
)
def test_a_wrong_use_is_told_of_the_option_and_the_command(
    words: list[str], usage: str, complaint: str, empty: Path
) -> None:
    (empty / "file").touch()
    result = CliRunner().invoke(main_group, words, prog_name="perfctl")
    assert result.exit_code == 2
    assert f"Usage: {usage} [OPTIONS]" in result.output
    assert complaint in result.output


def test_a_command_keeps_its_own_option_of_the_same_name(empty: Path) -> None:
    found: list[tuple[str | None, str]] = []

    @click.group(cls=Group)
    def group() -> None:
        pass

    @group.command()
    @click.option("--db", help="Its own.")
    @click.pass_obj
    def copy(settings: Settings, db: str | None) -> None:
        found.append((db, settings.database_url))

    assert isinstance(copy, Command)
    result = CliRunner().invoke(
        group, ["--db", "shared.db", "copy", "--db", "own.db"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    assert found == [("own.db", "shared.db")]
    text = CliRunner().invoke(group, ["copy", "--help"]).output
    own, _, shared = text.partition("Options of every command")
    assert "Its own." in own
    assert "--db" not in shared
    assert "--project" in shared


def test_the_next_command_repeats_what_it_needs_of_the_options_given(empty: Path) -> None:
    @click.command(cls=Command)
    def done() -> None:
        click.echo(repeat_options("perfctl run --suite cpu", "inventory", "database"))

    words = ["-i", "a.yml", "-i", "my hosts.yml", "--db", "x.db", "--project", "elsewhere"]
    result = CliRunner().invoke(done, words, catch_exceptions=False)
    assert result.output == "perfctl run --suite cpu -i a.yml -i 'my hosts.yml' --db x.db\n"
    assert CliRunner().invoke(done, [], catch_exceptions=False).output == "perfctl run --suite cpu\n"


# ---- the project's inventory -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([], ()),
        (["inventory"], ("inventory",)),
        (
            ["inventory/fleet.yml", "inventory/group_vars/all.yml", "inventory/README.md"],
            ("inventory/fleet.yml",),
        ),
        (
            ["inventory/ours/hosts", "inventory/ours/group_vars/all.yml", "inventory/.keep"],
            ("inventory/ours",),
        ),
        (["inventory/localhost.yml", "inventory/example/hosts.yml"], ("inventory/localhost.yml",)),
    ],
)
def test_the_inventory_of_a_project_is_the_default(
    tmp_path: Path, files: list[str], expected: tuple[str, ...]
) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert load_settings(tmp_path, environ={}).inventory == tuple(str(tmp_path / item) for item in expected)
    assert load_settings(tmp_path, inventory=["mine"], environ={}).inventory == ("mine",)


def test_of_several_inventories_one_must_be_named(tmp_path: Path) -> None:
    (tmp_path / "inventory").mkdir()
    for name in ("lab.yml", "localhost.yml"):
        (tmp_path / "inventory" / name).touch()
    settings = load_settings(tmp_path, environ={})
    with pytest.raises(UsageError, match="several inventories") as caught:
        _ = settings.inventory
    assert "lab.yml" in str(caught.value.hint) and "localhost.yml" in str(caught.value.hint)
