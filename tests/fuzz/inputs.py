"""How many inputs each kind of reader gets, how long one may take, and what became of them.

    @inputs("suites", 0.5)
    @given(...)
    def test_any_suite(...) -> bool:      True: it was accepted, False: it was refused as it should be

`PERFCTL_FUZZ_EXAMPLES` is the number of inputs over all kinds. Unless it is set, they are few and always
the same.
"""

from __future__ import annotations

import functools
import math
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
from hypothesis import HealthCheck, settings
from hypothesis.errors import HypothesisException

VARIABLE = "PERFCTL_FUZZ_EXAMPLES"
IS_LONG = VARIABLE in os.environ
TOTAL = int(os.environ.get(VARIABLE, "2000"))
KINDS = {
    "parsers": 24,
    "inventories": 14,
    "suites": 11,
    "facts": 13,
    "kernel log": 8,
    "ssh_config": 8,
    "plans": 8,
    "messages": 14,
}
"""Kind of input -> its share of all inputs, in percent."""

CANARY = Path("EXECUTED")
"""What the commands in inputs would make, where nothing gave them another place."""
HANG_S = 30.0
"""CPU time after which an input counts as one that never ends; the machine's other load does not matter."""


@dataclass(slots=True)
class Tally:
    """What became of the inputs of one kind."""

    accepted: int = 0
    refused: int = 0
    crashes: set[str] = field(default_factory=set)
    """Where an error that is none of perfctl's came from, each place once."""


TALLIES = {kind: Tally() for kind in KINDS}
SHARES = dict.fromkeys(KINDS, 0.0)
"""How much of each kind the tests that were imported take."""

Test = TypeVar("Test", bound=Callable[..., Any])


def given(*strategies: Any, **named: Any) -> Callable[[Test], Test]:
    """Return the decorator of Hypothesis, for tests that return something."""
    decorator: Callable[[Test], Test] = hypothesis.given(*strategies, **named)
    return decorator


def inputs(kind: str, share: float, *, cases: int = 1) -> Callable[[Test], Test]:
    """Return a decorator that gives a test, below it `@given`, its share (0 to 1) of a kind's inputs.

    `cases`: how many the test is parametrised with; they divide the share.
    """
    SHARES[kind] += share
    count = math.ceil(TOTAL * KINDS[kind] / 100 * share / cases)

    def decorate(test: Test) -> Test:
        test.hypothesis.inner_test = _counted(kind, test.hypothesis.inner_test)  # type: ignore[attr-defined]
        return settings(
            max_examples=count,
            deadline=None,
            derandomize=not IS_LONG,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        )(test)

    return decorate


def _counted(kind: str, test: Callable[..., bool]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        tally = TALLIES[kind]
        try:
            with bounded():
                is_accepted = test(*arguments, **named)
        except HypothesisException:
            raise
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            tally.crashes.add(f"{type(error).__name__} at {last.filename}:{last.lineno}")
            raise
        assert not CANARY.exists(), "a command in an input was carried out"
        tally.accepted += is_accepted
        tally.refused += not is_accepted

    return run


@contextmanager
def bounded() -> Iterator[None]:
    """Fail when the block takes more than `HANG_S` of CPU time."""

    def fail(number: int, frame: object) -> None:
        raise AssertionError(f"this takes more than {HANG_S:g} s of CPU time")

    before = signal.signal(signal.SIGPROF, fail)
    signal.setitimer(signal.ITIMER_PROF, HANG_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def table(tallies: dict[str, Tally]) -> list[str]:
    """Return lines that tell of each kind how many inputs it got, and what became of them."""
    rows = [["kind", "inputs", "accepted", "refused", "crashes"]]
    sums = [0, 0, 0, 0]
    for kind, tally in tallies.items():
        numbers = [tally.accepted + tally.refused, tally.accepted, tally.refused, len(tally.crashes)]
        sums = [a + b for a, b in zip(sums, numbers, strict=True)]
        rows.append([kind, *(f"{number:,}" for number in numbers)])
    rows.append(["all", *(f"{number:,}" for number in sums)])
    lines = [f"{name:<12}" + "".join(f"{cell:>10}" for cell in cells) for name, *cells in rows]
    return lines + [place for tally in tallies.values() for place in sorted(tally.crashes)]
