"""Facts that figures depend on, when they are not the same before and after: what counts, and for whom."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from perfctl.facts import changes_of
from perfctl.model import Fact, FactState, Fingerprint, Target
from perfctl.report import comparison_report
from perfctl.report.gate import GateState, gate_report
from perfctl.store import open_store
from tests.unit.history_cases import H1, H2, add_run, facts

PAIR = Target("h1", "h2")


def reading(name: str, value: str | None, *, is_static: bool = True) -> Fingerprint:
    state = FactState.MISSING if value is None else FactState.PRESENT
    return Fingerprint((Fact(name, state, value or "", is_static),))


@pytest.mark.parametrize(
    ("name", "before", "after", "text"),
    [
        ("kernel.release", "6.1", "6.2", "kernel.release: 6.1 -> 6.2"),
        ("cpu.freq.governor", "performance: 0-7", "powersave: 0-7", "performance: 0-7 -> powersave: 0-7"),
        ("tool.netperf.version", "2.7.0", "2.7.1", "2.7.0 -> 2.7.1"),
        ("tool.netperf.sha256", "1b", None, "1b -> missing"),
        ("environment.image.id", "sha256:1", "sha256:2", "sha256:1 -> sha256:2"),
        ("net.links", "lo mtu=65536\neth0 mtu=1500 x", "lo mtu=65536\neth0 mtu=9000 x", "eth0: 1500 -> 9000"),
    ],
)
def test_what_figures_depend_on_is_told(name: str, before: str, after: str | None, text: str) -> None:
    (change,) = changes_of({("h1", ""): [reading(name, before), reading(name, after)]})
    assert text in str(change) and "h1" in str(change)


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("load.average", "0.1", "0.2"),
        ("environment.path.h2.mtu_ping", "ok", "down"),
        # Nothing was measured with what was not there.
        ("tool.netperf.sha256", None, "1b"),
        # Links come and go with containers.
        ("net.links", "lo mtu=65536", "lo mtu=65536\ntap0 mtu=1500 x"),
        ("net.links", "eth0 mtu=1500 speed=1000", "eth0 mtu=1500 speed=100"),
    ],
)
def test_other_facts_change_nothing(name: str, before: str | None, after: str | None) -> None:
    assert changes_of({("h1", ""): [reading(name, before), reading(name, after)]}) == ()


def test_a_change_concerns_those_who_depend_on_it() -> None:
    def change(name: str, before: str, after: str, environment: str = ""):
        (found,) = changes_of({("h1", environment): [reading(name, before), reading(name, after)]})
        return found

    kernel = change("kernel.release", "6.1", "6.2")
    assert kernel.concerns(H1, ("container",), ("sysbench",))
    assert kernel.concerns(Target("h2", "h1"), ("container",), ("netperf",)), "its peer's figures, too"
    assert not kernel.concerns(H2, ("container",), ("sysbench",))
    tool = change("tool.sysbench.sha256", "1", "2")
    assert tool.concerns(H1, ("container",), ("sysbench",))
    assert not tool.concerns(H1, ("container",), ("netperf",))
    assert tool.concerns(H1, ("container",), None), "of a workload that is gone nobody knows"
    image = change("environment.image.id", "1", "2", "container")
    assert image.concerns(H1, ("container", "native"), ("sysbench",))
    assert not image.concerns(H1, ("vm", "native"), ("sysbench",))
    mtu = change("net.links", "eth0 mtu=1500 x", "eth0 mtu=9000 x")
    assert mtu.concerns(PAIR, ("container",), ("netperf",))
    assert not mtu.concerns(H1, ("container",), ("sysbench",))


def changed_run(path: Path, *, measured_between: bool) -> None:
    """Store a run on two hosts; the kernel of the first is another one before than after."""
    with open_store(path, create=True) as store:
        run_id = add_run(store, ratio=1.0, targets=(H1, H2), fingerprint=facts(kernel_release="6.1"))
        store.writer.record_host_snapshot(run_id, "h1", "after", facts(kernel_release="6.2"))
    moment = 1_600_000_000 if measured_between else 1_900_000_000
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE host_snapshot SET taken_at = ? WHERE phase = 'before'", (moment,))


def test_the_host_that_changed_is_confounded_and_no_gate_decides_by_it(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    changed_run(path, measured_between=True)
    with open_store(path, read_only=True) as store:
        lines = [item for item in comparison_report(store, "latest").comparisons if not item.is_aa]
        assert {str(item.target): bool(item.confounded) for item in lines} == {"h1": True, "h2": False}
        report = gate_report(store, "latest", max_regression=0.05)
        assert {line.target: line.state for line in report.lines} == {
            "h1": GateState.UNDECIDED,
            "h2": GateState.PASSED,
        }
        against = gate_report(store, "latest", max_regression=0.05, per_host=True)
        assert {line.target: line.state for line in against.lines} == {
            "h1": GateState.UNDECIDED,
            "h2": GateState.PASSED,
        }


def test_a_change_before_anything_was_measured_is_none(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    changed_run(path, measured_between=False)
    with open_store(path, read_only=True) as store:
        assert store.run("latest").changes() == ()


@pytest.mark.parametrize("changed_first", [True, False])
def test_two_runs_are_not_decided_when_one_changed(tmp_path: Path, changed_first: bool) -> None:
    path = tmp_path / "results.db"
    if changed_first:
        changed_run(path, measured_between=True)
    with open_store(path, create=True) as store:
        add_run(store, targets=(H1, H2), fingerprint=facts(kernel_release="6.1"), seed=3)
    if not changed_first:
        changed_run(path, measured_between=True)
    with open_store(path, read_only=True) as store:
        first, second = (run.run_id for run in store.runs())
        report = gate_report(store, second, max_regression=0.05, baseline_run=first)
        assert {line.target: line.state for line in report.lines} == {
            "h1": GateState.UNDECIDED,
            "h2": GateState.PASSED,
        }
