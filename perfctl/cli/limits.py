"""The limits that a run is held to, as given on the command line: RULE=MILD,SEVERE."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from perfctl.errors import UsageError

if TYPE_CHECKING:
    from perfctl.facts import Limits, Thresholds

NEVER = "never"


def parse_limits(validity: Iterable[str], preflight: Iterable[str]) -> Limits:
    """Return the default limits with those given. Raises UsageError, UnknownName for a rule that is none."""
    from perfctl.facts import PREFLIGHT, VALIDITY, Limits

    return Limits(
        _changed(VALIDITY, "--validity", validity, ("steal=2,20", "swap=never,never")),
        _changed(PREFLIGHT, "--preflight", preflight, ("load=0.5,2", "neighbours=0,never")),
    )


def _changed(rules: Thresholds, option: str, given: Iterable[str], examples: tuple[str, str]) -> Thresholds:
    for item in given:
        name, equals, limits = item.partition("=")
        words = limits.split(",")
        if not equals or len(words) != 2:
            raise UsageError(
                f"{option} {item!r} is not RULE=LIMIT,LIMIT", hint=f"for example: {option} {examples[0]}"
            )
        mild, severe = (_limit(word, option, item) for word in words)
        rules = rules.changed(name.strip(), mild=mild, severe=severe)
    return rules


def _limit(word: str, option: str, item: str) -> float | None:
    if word.strip() == NEVER:
        return None
    try:
        return float(word)
    except ValueError as error:
        raise UsageError(
            f"{option} {item!r}: {word.strip()!r} is no number", hint=f"a number, or {NEVER}"
        ) from error
