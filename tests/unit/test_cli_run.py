"""`perfctl run` on the command line: options that do not go together."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from perfctl.cli import main_group
from perfctl.errors import UnknownName, UsageError


def test_a_format_without_a_dry_run_is_refused(tmp_path: Path) -> None:
    database = tmp_path / "results.db"
    arguments = ["--db", str(database), "run", "--suite", "cpu", "--format", "json"]
    result = CliRunner().invoke(main_group, arguments)
    assert isinstance(result.exception, UsageError)
    assert "--dry-run" in result.exception.message
    assert "perfctl compare" in (result.exception.hint or "")
    assert not database.exists()


def test_what_is_required_must_be_among_what_is_measured(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("all: {hosts: {here: {ansible_connection: local}}}\n")
    options = ["--db", str(tmp_path / "results.db"), "-i", str(inventory)]
    arguments = [*options, "run", "--suite", "cpu", "--env", "native", "--require", "vm", "--dry-run"]
    result = CliRunner().invoke(main_group, arguments)
    assert isinstance(result.exception, UnknownName)
    assert "vm" in result.exception.message
    assert result.exception.hint == "it has: native"
