"""Add up what became of the inputs, also over the workers of pytest-xdist, and print it after `make fuzz`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from tests.fuzz.inputs import IS_LONG, TALLIES, table

_KEY = "fuzz"


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_KEY] = {
            kind: {**asdict(tally), "crashes": sorted(tally.crashes)} for kind, tally in TALLIES.items()
        }


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    for kind, found in getattr(node, "workeroutput", {}).get(_KEY, {}).items():
        tally = TALLIES[kind]
        tally.accepted += found["accepted"]
        tally.refused += found["refused"]
        tally.crashes |= set(found["crashes"])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if IS_LONG:
        terminalreporter.section("inputs")
        for line in table(TALLIES):
            terminalreporter.write_line(line)
