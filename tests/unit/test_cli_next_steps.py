"""What commands print beside their result: where results go, and what to type next."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

import perfctl.execute
import perfctl.lab
import perfctl.plan.request
import perfctl.provision
from perfctl.cli import main_group
from perfctl.errors import Interrupted, PartialFailure, UnknownName, UsageError
from perfctl.execute import RunOutcome
from perfctl.lab import Lab
from perfctl.lab.topology import LabRequest, LabSpec, resolve
from perfctl.model import Listener, Plan, RunStarted
from perfctl.provision import ProvisionReport

RUN = "01a2204f-465d-7858-98b5-a6f5b766cc3b"
STARTED = RunStarted(RUN, Plan("cpu", "1", "native", (), (), ()), done=0, estimate_s=1)
OPTIONS = ["-i", "inventory/lab.yml", "--db", "x.db"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, value in (("PERFCTL_DB_URL", ""), ("XDG_CONFIG_HOME", "config"), ("XDG_DATA_HOME", "data")):
        monkeypatch.setenv(name, value)
    return tmp_path


def _invoke(*words: str) -> Result:
    return CliRunner().invoke(main_group, words)


@pytest.fixture
def outcome(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `run` and `resume` come to, instead of measuring: a run's counts."""
    counts: dict[str, Any] = {"status": "complete", "ok": 4, "failed": 0}

    def measured(*_: object, listener: Listener, **__: object) -> RunOutcome:
        listener(STARTED)
        if counts["status"] == "interrupted":
            raise Interrupted(
                "stopped",
                where="run 01a2204f-465d-7858-98b5-a6f5b766cc3b",
                hint="perfctl resume 01a2204f-465d-7858-98b5-a6f5b766cc3b",
            )
        return RunOutcome("01a2204f-465d-7858-98b5-a6f5b766cc3b", **counts)

    monkeypatch.setattr(perfctl.plan.request, "plan_run", lambda request: SimpleNamespace(hosts=()))
    monkeypatch.setattr(perfctl.execute, "execute_run", measured)
    monkeypatch.setattr(perfctl.execute, "resume_run", measured)
    return counts


@pytest.mark.parametrize("command", [["run", "--suite", "cpu"], ["resume", "latest"]], ids=lambda it: it[0])
def test_a_run_says_which_database_it_fills_and_how_to_compare(
    command: list[str], outcome: dict[str, Any]
) -> None:
    done = _invoke(*command, *OPTIONS)
    assert done.stdout == "01a2204f-465d-7858-98b5-a6f5b766cc3b\n"
    assert done.stderr.splitlines()[0] == "results go to x.db"
    assert (
        "see what it costs: perfctl compare 01a2204f-465d-7858-98b5-a6f5b766cc3b --db x.db\n" in done.stderr
    )


def test_a_run_in_an_empty_folder_says_where_the_default_database_is(outcome: dict[str, Any]) -> None:
    done = _invoke("run", "--suite", "cpu")
    first = done.stderr.splitlines()[0]
    assert first.startswith(f"results go to {Path('data', 'perfctl', 'results.db')} (")
    assert "perfctl.toml" in first, "what makes a folder a project"
    assert "see what it costs: perfctl compare 01a2204f-465d-7858-98b5-a6f5b766cc3b\n" in done.stderr


def test_a_run_in_a_project_folder_fills_its_own_database(here: Path, outcome: dict[str, Any]) -> None:
    (here / "perfctl.toml").touch()
    first = _invoke("run", "--suite", "cpu").stderr.splitlines()[0]
    assert first == f"results go to {here / 'results.db'}"


def test_a_project_folder_that_does_not_exist_is_refused(here: Path) -> None:
    for words in (["runs", "--project", "nowhere"], ["--project", "nowhere", "suites"]):
        error = _invoke(*words).exception
        assert isinstance(error, UsageError)
        assert error.where == str(here / "nowhere")


def test_a_run_with_failures_names_the_commands_that_find_it_again(
    here: Path, outcome: dict[str, Any]
) -> None:
    (here / "my fleet").mkdir()
    outcome |= {"status": "partial", "failed": 1}
    error = _invoke("run", "--suite", "cpu", *OPTIONS, "--project", "my fleet").exception
    assert isinstance(error, PartialFailure)
    assert error.hint == (
        f"why: perfctl show {RUN} --db x.db --project 'my fleet'; run the rest again: "
        f"perfctl resume {RUN} -i inventory/lab.yml --db x.db --project 'my fleet'"
    )


@pytest.mark.parametrize("command", [["run", "--suite", "cpu"], ["resume", "latest"]], ids=lambda it: it[0])
def test_a_run_that_is_stopped_names_the_command_that_goes_on(
    command: list[str], outcome: dict[str, Any]
) -> None:
    outcome["status"] = "interrupted"
    error = _invoke(*command, *OPTIONS).exception
    assert isinstance(error, Interrupted)
    assert error.hint == "perfctl resume 01a2204f-465d-7858-98b5-a6f5b766cc3b -i inventory/lab.yml --db x.db"


@pytest.mark.parametrize(
    ("light", "project", "words"),
    [
        (False, (), "prepare its hosts for runs: perfctl provision -i inventory/lab.yml\n"),
        (
            False,
            ("--project", "/"),
            "prepare its hosts for runs: perfctl provision -i /inventory/lab.yml --project /\n",
        ),
        # Such hosts cannot be provisioned.
        (True, (), ""),
    ],
)
def test_a_lab_that_is_up_says_where_its_inventory_is_and_how_to_provision(
    light: bool, project: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = LabSpec("lab", 2, light, "172.31.240.0/24", "10.241.0.0/16")

    def up(project_dir: Path, *_: object, **__: object) -> Lab:
        return Lab(spec, project_dir / "inventory" / "lab.yml", ())

    monkeypatch.setattr(perfctl.lab, "up", up)
    done = _invoke("lab", "up", *project)
    assert done.stdout == f"{Path(*project[1:]).absolute() / 'inventory' / 'lab.yml'}\n"
    assert done.stderr == words


def test_releases_and_control_groups_may_be_given_several_times(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = []

    def up(project_dir: Path, request: LabRequest, **_: object) -> Lab:
        requests.append(request)
        return Lab(resolve(request, None), project_dir / "inventory" / "lab.yml", ())

    monkeypatch.setattr(perfctl.lab, "up", up)
    words = "--release 12 --release 13 --cgroup machine --cgroup v2 --hosts 4 --light"
    for options in (words.split(), []):
        assert _invoke("lab", "up", *options).exit_code == 0
    wanted = LabRequest(hosts=4, light=True, releases=("12", "13"), cgroups=("machine", "v2"))
    assert requests == [wanted, LabRequest()]


def test_a_lab_that_is_not_there_is_named_with_its_project(here: Path) -> None:
    error = _invoke("lab", "status", "--name", "other").exception
    assert isinstance(error, UnknownName)
    assert (error.message, error.where) == ("there is no lab other in this project", str(here))
    assert error.hint == "bring it up: perfctl lab up --name other"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "measure there: perfctl run --suite cpu -i inventory/lab.yml --db x.db\n"),
        (["--check"], ""),
        (["--undo"], ""),
    ],
)
def test_provision_says_how_to_measure_once_something_was_done(
    options: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("provision", "undo"):
        monkeypatch.setattr(perfctl.provision, name, lambda *_, **__: ProvisionReport(()))
    done = _invoke("provision", *options, *OPTIONS)
    assert (done.exit_code, done.stderr) == (0, words)
