"""`perfctl environments`: what it prints, and that a wrong name is exit 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from perfctl.cli import main_group
from perfctl.environments import CATALOGUE
from perfctl.errors import UnknownName, UsageError


def document(*arguments: str) -> dict[str, object]:
    result = CliRunner().invoke(main_group, ["environments", *arguments, "--format", "json"])
    assert result.exit_code == 0, result.output
    loaded: dict[str, object] = json.loads(result.stdout)
    return loaded


def test_all_are_listed_the_baseline_first():
    rows = document()["rows"]
    assert isinstance(rows, list)
    assert [row["name"] for row in rows] == list(CATALOGUE)
    relaxed = {row["name"]: row["relaxations"] for row in rows}
    assert relaxed["container"] == relaxed["native"] == ""
    assert relaxed["container-unconfined"] == "--security-opt seccomp=unconfined"
    assert relaxed["container-privileged"] == "--privileged"


def test_one_shows_the_command_that_makes_it():
    rows = document("container-hostnet")["rows"]
    assert isinstance(rows, list)
    shown = {row["field"]: row["value"] for row in rows}
    assert shown["made by"].startswith(
        "docker run -d --name NAME --pull never --network host --entrypoint sh"
    )
    assert shown["key"] == CATALOGUE["container-hostnet"].key


def test_native_is_made_by_nothing():
    rows = document("native")["rows"]
    assert isinstance(rows, list)
    shown = {row["field"]: row["value"] for row in rows}
    assert shown["made by"] == "nothing: commands run on the host itself"
    assert shown["image"] is None


def shown(name: str) -> dict[str, object]:
    rows = document(name)["rows"]
    assert isinstance(rows, list)
    return {row["field"]: row["value"] for row in rows}


def test_a_container_in_a_guest_shows_both_layers():
    fields = shown("container-in-vm")
    assert fields["within"] == "vm"
    assert str(fields["made by"]).startswith("docker run -d")
    assert str(fields["within made by"]).startswith("virsh create")
    assert "server" not in fields


@pytest.mark.parametrize(
    ("name", "server", "made_by"),
    [
        ("vm-to-container", "container", "docker run -d"),
        ("vm-to-native", "native", "nothing: commands run"),
        ("container-to-native", "native", "nothing: commands run"),
    ],
)
def test_a_client_shows_where_its_server_runs(name, server, made_by):
    fields = shown(name)
    assert fields["server"] == server
    assert str(fields["server made by"]).startswith(made_by)


def test_a_guest_shows_its_size():
    fields = shown("vm")
    assert (fields["vcpus"], fields["memory_mib"], fields["hugepages"]) == ("2 (emulated: 1)", 2048, "no")
    assert fields["cpu_quota"] is None


def test_every_environment_can_be_shown_in_words():
    for name in CATALOGUE:
        result = CliRunner().invoke(main_group, ["environments", name])
        assert result.exit_code == 0, result.output
        assert CATALOGUE[name].key in result.stdout


def test_a_wrong_name_names_what_comes_close():
    result = CliRunner().invoke(main_group, ["environments", "contaner"])
    assert isinstance(result.exception, UnknownName)
    assert result.exception.exit_code == 2
    with pytest.raises(UnknownName, match="contaner"):
        raise result.exception


def test_an_environment_of_a_suite_is_shown_by_its_suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "web.toml").write_text(
        '[suite]\nname = "web"\n[environments.half]\nkind = "container"\ncpu_quota = 0.5\n'
        '[[benchmark]]\nname = "a"\nworkload = "sysbench"\nparameters = { test = "cpu" }\n'
    )
    rows = document("half", "--suite", "web")["rows"]
    assert isinstance(rows, list)
    assert {row["field"]: row["value"] for row in rows}["cpu_quota"] == 0.5
    for words, names in (
        (("native-1cpu", "--suite", "parity"), None),
        (("--suite", "web"), ["native", "container"]),
    ):
        rows = document(*words)["rows"]
        assert isinstance(rows, list)
        assert names is None or [row["name"] for row in rows] == names
    page = CliRunner().invoke(main_group, ["environments", "half", "--suite", "web"]).stdout
    assert "perfctl run --suite web --env native --env half" in page


@pytest.mark.parametrize(
    ("words", "hint"),
    [(("half",), "--suite"), (("haf", "--suite", "parity"), "native"), (("--suite", "nothing"), "")],
)
def test_an_environment_or_suite_that_is_not_there_is_refused(words: tuple[str, ...], hint: str) -> None:
    error = CliRunner().invoke(main_group, ["environments", *words]).exception
    assert isinstance(error, UsageError)
    assert hint in (error.hint or "")


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("native", "the host's"),
        ("container", "the host's"),
        ("vm", "its own"),
        ("container-in-vm", "that of vm"),
    ],
)
def test_one_shows_whose_kernel_it_runs_on(name: str, owner: str) -> None:
    assert shown(name)["kernel"] == owner


def test_a_runtime_is_not_stock_and_may_bring_a_kernel(tmp_path: Path) -> None:
    suite = tmp_path / "sandboxed.toml"
    suite.write_text(
        '[suite]\nenvironments = ["native", "sandbox"]\n'
        '[environments.sandbox]\nkind = "container"\nruntime = "runsc"\n'
        '[[benchmark]]\nname = "cpu"\nworkload = "sysbench"\n'
    )
    rows = document("--suite", str(suite))["rows"]
    assert isinstance(rows, list)
    assert {row["name"]: row["relaxations"] for row in rows}["sandbox"] == "--runtime runsc"
    rows = document("sandbox", "--suite", str(suite))["rows"]
    assert isinstance(rows, list)
    assert {row["field"]: row["value"] for row in rows}["kernel"] == "its own"
