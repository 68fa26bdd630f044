"""--undo on the command line: what it takes back, and what it refuses."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from perfctl.cli import main_group
from perfctl.errors import PerfctlError, UsageError
from perfctl.provision import undo


@pytest.mark.parametrize("tags", [("bridge",), ("vm", "docker"), ("vm,image",), ("all",)])
def test_what_cannot_be_undone_is_named(tags: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="cannot be undone yet") as caught:
        undo(["nowhere.yml"], tags=tags)
    assert caught.value.exit_code == 2
    assert "--tags vm" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--purge-packages"], "--purge-packages goes with --undo only"),
        (["--undo", "--force"], "--undo always looks at every host"),
        (["--undo", "--tags", "tools"], "cannot be undone yet: tools"),
    ],
)
def test_options_that_make_no_sense_together_are_refused(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(main_group, ["provision", *arguments])
    assert isinstance(result.exception, PerfctlError)
    assert result.exception.exit_code == 2
    assert words in result.exception.message
