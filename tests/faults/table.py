"""The campaign's table: a row for each kind of attack."""

from __future__ import annotations

from collections.abc import Sequence

from tests.faults.attacks import ATTACKS
from tests.faults.case import FAULTS, Outcome


def table(outcomes: Sequence[Outcome]) -> str:
    """Return a Markdown table: cases, invocations tried, and of each fault how many were found."""
    head = ["attack", "what", "cases", "tried", *(name.replace("_", " ") for name in FAULTS)]
    rows = [head, ["---", "---", *["---:"] * (len(head) - 2)]]
    for attack in ATTACKS:
        mine = [outcome for outcome in outcomes if outcome.attack == attack.name]
        if mine:
            rows.append([attack.name, attack.what, *_figures(mine)])
    if len(rows) > 3:
        rows.append(["all", "", *_figures(outcomes)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _figures(outcomes: Sequence[Outcome]) -> list[str]:
    tried = sum(outcome.tried for outcome in outcomes)
    found = [sum(len(outcome.findings[name]) for outcome in outcomes) for name in FAULTS]
    return [str(number) for number in (len(outcomes), tried, *found)]
