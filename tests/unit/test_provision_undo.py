"""--undo on the command line: what it takes back, and what it refuses."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner

from perfctl.cli import main_group
from perfctl.errors import PerfctlError, UsageError
from perfctl.model import Event, Listener, Note
from perfctl.playbook import HostStats, PlaybookResult
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


def test_what_is_kept_is_in_the_report_and_not_among_the_notes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = "the packages that perfctl installed: qemu libvirt"

    def play(*args: object, listener: Listener, **settings: object) -> PlaybookResult:
        listener(Note("info", "h1", f"remove br1\nkept: {packages}\nstop libvirtd"))
        listener(Note("info", "h2", f"kept: {packages}"))
        return PlaybookResult({"h1": HostStats(ok=1, changed=2), "h2": HostStats(ok=1)}, ())

    monkeypatch.setattr(import_module("perfctl.provision.undo"), "run_playbook", play)
    inventory = tmp_path / "hosts"
    inventory.write_text("h1\nh2\n")
    shown: list[Event] = []
    report = undo([str(inventory)], check=True, listener=shown.append)
    assert shown == [
        Note("info", "", f"2 host(s): h1, h2 ({inventory})"),
        Note("info", "h1", "remove br1\nstop libvirtd"),
    ]
    assert [item.message for item in report.hosts] == [f"kept {packages}"] * 2
