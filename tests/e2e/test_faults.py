"""Attacks of the fault campaign (`make faults`), in a short form: those that no other test does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.attacks import attack_named
from tests.faults.canaries import Canaries
from tests.faults.case import FAULTS, Case
from tests.lab import LabAtHand

pytestmark = pytest.mark.lab("both")


@pytest.mark.parametrize(
    ("name", "benchmarks"), [("network-5", ("cpu", "rr")), ("engine", ("cpu",))], ids=["network", "engine"]
)
def test_nothing_is_lost_doubled_or_left_over(
    provisioned_lab: LabAtHand, tmp_path: Path, name: str, benchmarks: tuple[str, ...]
) -> None:
    # By then it measures, and is not over yet.
    attack = replace(attack_named(name), earliest_s=5.0, latest_s=8.0)
    canaries = Canaries.put(tmp_path / "secrets", provisioned_lab.inventory)
    case = Case(attack, 1, "tests", blocks=1, benchmarks=benchmarks)
    outcome = case.execute(provisioned_lab, canaries, tmp_path / "case")
    assert outcome.findings == {fault: [] for fault in FAULTS}, outcome.commands
    assert outcome.was_attacked
