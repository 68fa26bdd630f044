"""What differs between two environments, hosts or runs, and in which order it is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from perfctl.__main__ import main
from perfctl.errors import UnknownName
from perfctl.facts.relevance import SUBJECTS, relevance
from perfctl.model import Fact, FactState, Fingerprint
from perfctl.report.facts_difference import facts_report
from perfctl.store import Store, open_store
from tests.unit.store_cases import begin_run


def facts(**values: str | None) -> Fingerprint:
    """Return facts by their names, with '__' for '.'; None is one that is missing."""
    return Fingerprint(
        tuple(
            Fact(name.replace("__", "."), FactState.PRESENT if text else FactState.MISSING, text or "", True)
            for name, text in values.items()
        )
    )


STOCK = {"task__seccomp": "2", "task__cap_eff": "a80425fb", "os__release": "12", "libc__version": "2.36"}
HOST_CONFIG = {"Runtime": "runc", "SecurityOpt": None, "Memory": 0}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


@pytest.fixture
def store(database: Path) -> Iterator[Store]:
    with open_store(str(database), create=True) as opened:
        yield opened


@pytest.fixture
def run(store: Store) -> str:
    """Return a run with facts of two hosts and of both environments on one of them."""
    run_id = begin_run(store)
    store.writer.record_host_snapshot(run_id, "h1", "before", facts(kernel__release="6.1", cpu__model="A"))
    store.writer.record_host_snapshot(run_id, "h2", "before", facts(kernel__release="6.1", cpu__model="B"))
    native = {**STOCK, "task__seccomp": "0", "task__cap_eff": "1ff"}
    store.writer.record_environment_snapshot(run_id, "h1", "native", facts(**native), {})
    planted = HOST_CONFIG | {"SecurityOpt": ["seccomp={}"]}
    store.writer.record_environment_snapshot(
        *(run_id, "h1", "container", facts(**STOCK)),
        {"container.host_config": json.dumps(planted), "engine.runtime": "runc", "image.id": "sha256:1"},
    )
    return run_id


def test_the_most_relevant_comes_first(store: Store, run: str) -> None:
    report = facts_report(store, run, "native", "container")
    assert [item.name for item in report.differences] == [
        *("task.seccomp", "task.cap_eff"),
        # What only a container has is no explanation by itself.
        *("environment.container.host_config", "environment.engine.runtime", "environment.image.id"),
    ]
    first = report.differences[0]
    assert (first.subject, first.first, first.second, first.places) == ("seccomp", "0", "2", ("h1",))
    assert report.differences[-1].first is None
    assert (report.compared, report.not_read) == (("h1",), ("h2",))


def test_a_profile_that_was_planted_is_named_first(store: Store, run: str) -> None:
    other = begin_run(store)
    planted = json.dumps(HOST_CONFIG | {"SecurityOpt": ["seccomp={1}"]})
    plain = {"container.host_config": json.dumps(HOST_CONFIG)}
    strict = {"container.host_config": planted, "seccomp_profile.sha256": "ab" * 32}
    store.writer.record_environment_snapshot(other, "h1", "native", facts(**STOCK), plain)
    store.writer.record_environment_snapshot(other, "h1", "container", facts(**STOCK), strict)
    report = facts_report(store, other, "native", "container")
    assert [item.name for item in report.differences] == [
        *("environment.container.host_config.SecurityOpt", "environment.seccomp_profile.sha256"),
    ]
    assert {item.subject for item in report.differences} == {"seccomp"}
    assert report.differences[0].second == '["seccomp={1}"]'


def test_two_hosts_and_two_runs(store: Store, run: str) -> None:
    (change,) = facts_report(store, run, "h1", "h2").differences
    assert (change.name, change.first, change.second) == ("cpu.model", "A", "B")
    again = begin_run(store)
    store.writer.record_host_snapshot(again, "h1", "before", facts(kernel__release="6.2", cpu__model="A"))
    store.writer.record_environment_snapshot(again, "h1", "native", facts(**STOCK), {})
    report = facts_report(store, run, again)
    assert [(item.name, item.places) for item in report.differences] == [
        *(("task.seccomp", ("h1/native",)), ("task.cap_eff", ("h1/native",)), ("kernel.release", ("h1",))),
    ]
    assert set(report.not_read) == {"h1/container", "h2", "h2/native", "h2/container"}


def test_of_long_texts_only_the_lines_that_differ(store: Store) -> None:
    run_id = begin_run(store)
    store.writer.record_host_snapshot(run_id, "h1", "before", facts(kernel__config="HZ=250\nPREEMPT=y"))
    store.writer.record_host_snapshot(run_id, "h2", "before", facts(kernel__config="HZ=1000\nPREEMPT=y"))
    (change,) = facts_report(store, run_id, "h1", "h2").differences
    assert (change.first, change.second) == ("HZ=250", "HZ=1000")


def test_a_name_that_is_none_is_answered_with_those_that_are(store: Store, run: str) -> None:
    with pytest.raises(UnknownName, match="'nativ'") as caught:
        facts_report(store, run, "nativ", "container")
    assert "environments: container, native; hosts: h1, h2" in str(caught.value.hint)
    with pytest.raises(UnknownName):
        facts_report(store, run, "native", "h1")


def test_the_command_prints_it(
    store: Store, run: str, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = printed(capsys, "facts", "diff", run, "native", "container", "--db", str(database))
    assert "native and container: 5 facts differ" in out
    lines = [line for line in out.splitlines() if line.startswith("seccomp")]
    assert len(lines) == 1 and lines[0].split() == ["seccomp", "task.seccomp", "0", "2"]
    words = ["facts", "diff", run, "native", "container", "--db", str(database), "--format", "json"]
    assert json.loads(printed(capsys, *words))["rows"][0]["fact"] == "task.seccomp"


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("tool.sysbench.sha256", "programs"),
        ("tool.perfctl-launch.sha256", "other"),
        ("python.build", "interpreter"),
        ("env.LD_PRELOAD", "allocator and libc"),
        ("task.seccomp_filters", "seccomp"),
        ("environment.container.host_config.CapAdd", "security"),
        ("cgroup.cpu_max", "limits"),
        ("cpu.freq.governor", "processor"),
        ("environment.engine.version", "engine"),
        ("host.name", "other"),
    ],
)
def test_what_a_fact_is_about(name: str, subject: str) -> None:
    place, found = relevance(name)
    assert found == subject
    assert place == [*(each for each, _ in SUBJECTS), "other"].index(subject)
