"""Limits as they are typed: what they change, and what is refused."""

from __future__ import annotations

import pytest

from perfctl.errors import UsageError
from perfctl.validity.thresholds import PREFLIGHT, VALIDITY, Thresholds, parse_thresholds


def test_nothing_given_is_the_default() -> None:
    assert parse_thresholds((), ()) == Thresholds(VALIDITY, PREFLIGHT)


def test_each_option_changes_its_own_rules() -> None:
    limits = parse_thresholds(["steal=2,20", "swap=never, never"], ["steal=0,5"])
    assert (limits.validity["steal"].mild, limits.validity["steal"].severe) == (2, 20)
    assert (limits.validity["swap"].mild, limits.validity["swap"].severe) == (None, None)
    assert (limits.preflight["steal"].mild, limits.preflight["steal"].severe) == (0, 5)
    assert limits.validity["quota"] == VALIDITY["quota"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("steal", "RULE=LIMIT,LIMIT"),
        ("steal=1", "RULE=LIMIT,LIMIT"),
        ("steal=1,2,3", "RULE=LIMIT,LIMIT"),
        ("stael=1,2", "no rule 'stael'"),
        ("steal=much,2", "'much' is no number"),
        ("steal=,2", "'' is no number"),
        ("steal=nan,2", "must be a number"),
        ("steal=-1,2", "must be a number"),
        ("steal=1,inf", "must be a number"),
        ("governor=1,2", "no rule 'governor'"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(given: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        parse_thresholds([given], ())
    assert refused.value.exit_code == 2
