"""What a run makes of engines that stop, refuse, change or babble, with a real program called docker."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from perfctl.errors import CommandFailed
from perfctl.execute import RunOutcome, resume_run
from perfctl.lab.engine import LabEngine
from perfctl.model import Environment, Event, InvocationEnded, Note, Reason, Status
from perfctl.plan.request import PlannedRun
from perfctl.report import comparison_report
from perfctl.report.gate import GateState, gate_report
from perfctl.store import open_store
from tests.e2e.fake_docker import FakeDocker
from tests.e2e.local_run import LocalFleet, execute, planned_run

CONTAINER = Environment("container", "container", engine="docker", image="perf-tools", network="bridge")
STOPPED = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
NO_IMAGE = "Error response from daemon: No such image: perf-tools:latest."
REFUSED = "OCI runtime create failed: unable to apply caps: operation not permitted: unknown."
Ended = tuple[str, str, str]


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    """Return a docker that is first on PATH, beside a sysbench that may be replaced."""
    made = FakeDocker(tmp_path / "bin")
    tool = made.folder / "sysbench"
    tool.write_text(f'#!/bin/sh\nexec {shutil.which("sysbench")} "$@"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{made.folder}:{os.environ['PATH']}")
    monkeypatch.setattr("perfctl.execute.run.Fleet", LocalFleet)
    return made


class Listening:
    """Hears a run, and does something once a number of invocations has ended."""

    def __init__(self, after: int = 0, **behaviour: str) -> None:
        self.notes: list[str] = []
        self._after = after
        self._behaviour = behaviour
        self.docker: FakeDocker | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, Note):
            self.notes.append(f"{event.where}: {event.text}")
        if isinstance(event, InvocationEnded):
            self._after -= 1
            if self._after == 0 and self.docker:
                self.docker.tell(**self._behaviour)


def run(
    docker: FakeDocker, planned: PlannedRun, database: Path, heard: Listening | None = None
) -> tuple[RunOutcome, list[Ended]]:
    """Run it; return the outcome, and each invocation as environment, status and reason."""
    heard = heard or Listening()
    heard.docker = docker
    outcome = execute(planned, database, heard)
    return outcome, ended(planned, database)


def resumed(planned: PlannedRun, database: Path) -> tuple[RunOutcome, list[Ended]]:
    heard = Listening()
    outcome = resume_run(planned.run_id, database_url=str(database), listener=heard, force=True)
    return outcome, ended(planned, database)


def ended(planned: PlannedRun, database: Path) -> list[Ended]:
    with open_store(database, read_only=True) as store:
        detail = store.run(planned.run_id).detail()
    ok = next((item.invocations for item in detail.counts if item.status is Status.OK), 0)
    return [("", "ok", "")] * ok + [
        (item.environment, item.status.value, item.reason.value) for item in detail.failures
    ]


@pytest.mark.parametrize("refusal", [STOPPED, REFUSED], ids=["stopped", "refused"])
def test_what_worked_in_this_run_and_stops_working_has_failed(
    docker: FakeDocker, tmp_path: Path, refusal: str
) -> None:
    planned, database = planned_run(tmp_path, CONTAINER), tmp_path / "results.db"
    outcome, found = run(docker, planned, database, Listening(after=3, refusal=refusal))
    assert outcome.status == "partial", "it can be resumed"
    # Block 1 failed, and was tried once more.
    assert Counter(found) == {("", "ok", ""): 7, ("container", "failed", "environment_not_made"): 2}
    again, found = resumed(planned, database)
    assert again.status == "partial"
    assert all(status != "skipped" for _, status, _ in found), "it has worked in this run"
    docker.mend()
    again, found = resumed(planned, database)
    assert again.status == "complete"


def test_an_engine_that_drops_an_option_is_found_out(docker: FakeDocker, tmp_path: Path) -> None:
    strict = replace(CONTAINER, name="strict", no_new_privileges=True, security_opt=("apparmor=unconfined",))
    planned, database = planned_run(tmp_path, strict), tmp_path / "results.db"
    docker.tell(info='{"ServerVersion": "25.0", "SecurityOptions": ["name=seccomp,profile=default"]}')
    heard = Listening()
    outcome, found = run(docker, planned, database, heard)
    assert outcome.status == "partial"
    assert {item for item in found if item[1] != "ok"} == {("strict", "failed", "label_mismatch")}
    with open_store(database, read_only=True) as store:
        stored = store.run(planned.run_id)
        failure = stored.detail().failures[0]
        host = stored.summary().hosts[0]
        meaning = stored.facts(host, "strict").get("environment.label")
    assert "the environment says no-new-privileges, and the command ran with NoNewPrivs: 0" in failure.detail
    assert "task" in failure.kept
    # There is no AppArmor here, and that is said of what it means.
    assert meaning is not None and meaning.value.startswith("no AppArmor on this host")
    assert any("the same as container" in note for note in heard.notes)


def test_what_the_host_refuses_from_the_beginning_is_unavailable(docker: FakeDocker, tmp_path: Path) -> None:
    planned, database = planned_run(tmp_path, CONTAINER), tmp_path / "results.db"
    docker.tell(refusal=REFUSED)
    heard = Listening()
    outcome, found = run(docker, planned, database, heard)
    assert outcome.status == "complete"
    assert Counter(found) == {("", "ok", ""): 4, ("container", "skipped", "environment_unavailable"): 2}
    (line,) = [note for note in heard.notes if "not available" in note]
    assert line.startswith(
        "here/container: not available: here/container: the host itself lacks capabilities"
    )
    with open_store(database, read_only=True) as store:
        (left,) = comparison_report(store, planned.run_id).left_out
    assert (left.environment, left.reason, left.blocks) == (
        "container",
        "skipped (environment_unavailable)",
        2,
    )


def test_what_is_required_must_not_be_refused(docker: FakeDocker, tmp_path: Path) -> None:
    planned = planned_run(tmp_path, CONTAINER, required=["container"])
    database = tmp_path / "results.db"
    docker.tell(refusal=REFUSED)
    outcome, found = run(docker, planned, database)
    assert outcome.status == "partial"
    assert Counter(found) == {("", "ok", ""): 4, ("container", "failed", "environment_not_made"): 2}
    assert resumed(planned, database)[0].status == "partial", "it is required by the run, not by the command"
    docker.mend()
    assert resumed(planned, database)[0].status == "complete"


def test_what_the_suite_or_the_provisioning_can_mend_has_failed(docker: FakeDocker, tmp_path: Path) -> None:
    planned, database = planned_run(tmp_path, CONTAINER), tmp_path / "results.db"
    docker.tell(refusal=NO_IMAGE)
    outcome, found = run(docker, planned, database)
    assert outcome.status == "partial"
    # Once per block: it would fail again.
    assert Counter(found) == {("", "ok", ""): 4, ("container", "failed", "environment_not_made"): 2}
    docker.mend()
    assert resumed(planned, database)[0].status == "complete"


def test_what_ended_twice_in_the_survey_is_tried_again(docker: FakeDocker, tmp_path: Path) -> None:
    planned, database = planned_run(tmp_path, CONTAINER), tmp_path / "results.db"
    docker.tell(gone="2")
    heard = Listening()
    outcome, found = run(docker, planned, database, heard)
    assert (outcome.status, outcome.ok, found) == ("complete", 6, [("", "ok", "")] * 6)
    assert any("not available" in note for note in heard.notes)
    with open_store(database, read_only=True) as store:
        assert store.run(planned.run_id).facts("here", "container").facts, "what it ran in is known"


def test_what_ends_every_time_is_not_tried_for_ever(docker: FakeDocker, tmp_path: Path) -> None:
    planned, database = planned_run(tmp_path, CONTAINER, blocks=8), tmp_path / "results.db"
    docker.tell(gone="1000")
    outcome, found = run(docker, planned, database)
    assert outcome.status == "partial"
    assert Counter(found)["container", "failed", "environment_died"] == 8
    assert docker.calls("run") == 4, "twice in the survey, and twice before the first block"


NOTICE = "Emulate Docker CLI using podman. Create /etc/containers/nodocker to quiet msg."


def test_a_stand_in_that_prints_notices_costs_that_host_its_containers_alone(
    docker: FakeDocker, tmp_path: Path
) -> None:
    planned, database = planned_run(tmp_path, CONTAINER), tmp_path / "results.db"
    docker.tell(notice=NOTICE)
    heard = Listening()
    outcome, found = run(docker, planned, database, heard)
    assert outcome.status == "complete"
    assert Counter(found) == {("", "ok", ""): 4, ("container", "skipped", "environment_unavailable"): 2}
    (line,) = [note for note in heard.notes if "not available" in note]
    assert NOTICE in line and "nodocker" in line


def test_a_lab_names_a_stand_in_instead_of_ending_in_a_traceback(docker: FakeDocker) -> None:
    docker.tell(notice=NOTICE)
    for question in (LabEngine().labelled, lambda: LabEngine().states(["lab-1"])):
        with pytest.raises(CommandFailed, match="Emulate Docker CLI"):
            question()


@pytest.mark.parametrize(
    ("config", "info"),
    [
        ('{"HostConfig": null}', '{"ContainerdCommit": null, "RuncCommit": null, "Runtimes": null}'),
        ("[]", "null"),
    ],
)
def test_null_fields_are_facts_that_are_missing(
    docker: FakeDocker, tmp_path: Path, config: str, info: str
) -> None:
    planned, database = planned_run(tmp_path, CONTAINER, blocks=1), tmp_path / "results.db"
    docker.tell(config=config, info=info)
    outcome, _ = run(docker, planned, database)
    assert (outcome.status, outcome.ok) == ("complete", 3)
    with open_store(database, read_only=True) as store:
        facts = store.run(planned.run_id).facts("here", "container")
        assert facts.get("environment.engine.runtime").value == ""  # type: ignore[union-attr]


def test_a_state_that_is_no_object_is_told_as_it_is(docker: FakeDocker, tmp_path: Path) -> None:
    planned, database = planned_run(tmp_path, CONTAINER, blocks=1), tmp_path / "results.db"
    docker.tell(gone="1000")
    run(docker, planned, database)
    with open_store(database, read_only=True) as store:
        (failure,) = store.run(planned.run_id).detail().failures
    assert failure.reason is Reason.ENVIRONMENT_DIED
    assert "state 'null'" in failure.detail


@pytest.mark.parametrize(
    ("behaviour", "what"),
    [
        ({"image": "sha256:second"}, "environment.image.id: sha256:first -> sha256:second"),
        ({"sysbench": f'#!/bin/sh\n# another\nexec {shutil.which("sysbench")} "$@"'}, "tool.sysbench.sha256"),
    ],
)
def test_what_changes_during_a_run_confounds_what_was_measured(
    docker: FakeDocker, tmp_path: Path, behaviour: dict[str, str], what: str
) -> None:
    planned, database = planned_run(tmp_path, CONTAINER, blocks=6), tmp_path / "results.db"
    heard = Listening(after=9, **behaviour)
    outcome, _ = run(docker, planned, database, heard)
    assert outcome.status == "complete"
    assert what in heard.notes[-1] and "confounded" in heard.notes[-1]
    with open_store(database, read_only=True) as store:
        (line,) = [item for item in comparison_report(store, "latest").comparisons if not item.is_aa]
        assert what in line.confounded
        (gated,) = gate_report(store, "latest", max_regression=10.0).lines
        assert gated.state is GateState.UNDECIDED and what in gated.why and what in gated.confounded


def test_what_stays_as_it_was_confounds_nothing(docker: FakeDocker, tmp_path: Path) -> None:
    planned, database = planned_run(tmp_path, CONTAINER, blocks=6), tmp_path / "results.db"
    heard = Listening()
    run(docker, planned, database, heard)
    assert not [note for note in heard.notes if "confounded" in note]
    with open_store(database, read_only=True) as store:
        assert store.run("latest").changes() == ()
        (gated,) = gate_report(store, "latest", max_regression=10.0).lines
        # What is measured here is not decided on a busy machine; nothing else may stand in the way.
        assert not gated.confounded
