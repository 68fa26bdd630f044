"""Read how invocations were judged: verdicts, findings, and the limits of the rules."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from perfctl.model import USAGE_METRICS, Target
from perfctl.validity.assessment import Assessment

SuspectValues = dict[tuple[str, str, Target, str], tuple[str, ...]]
"""(benchmark, metric, target, environment) -> why values of it are above what the hardware can do."""


@dataclass(frozen=True, slots=True)
class ValidityCount:
    """How many `ok` invocations of an environment count, by verdict.

    `rules` has the rules that were crossed, each with its number of invocations, the most frequent first.
    """

    environment: str
    valid: int
    flagged: int
    invalid: int
    not_judged: int
    rules: tuple[tuple[str, int], ...]


_COUNTS = """
SELECT
    environment.name,
    coalesce(sum(validity = 'valid'), 0),
    coalesce(sum(validity = 'flagged'), 0),
    coalesce(sum(validity = 'invalid'), 0),
    coalesce(sum(validity IS NULL), 0)
FROM invocation
JOIN block USING (block_id)
JOIN environment USING (environment_id)
JOIN run_environment ON run_environment.run_id = block.run_id AND run_environment.name = environment.name
WHERE block.run_id = ? AND invocation.status = 'ok'
GROUP BY environment.name
ORDER BY run_environment.position
"""

_RULES = """
SELECT v_finding.environment, rule, count(DISTINCT invocation_id)
FROM v_finding JOIN invocation USING (invocation_id)
WHERE v_finding.run_id = ? AND status = 'ok'
GROUP BY 1, 2 ORDER BY 3 DESC, 2
"""


def validity_counts(connection: sqlite3.Connection, run_id: str) -> tuple[ValidityCount, ...]:
    """Return the counts of a run's environments in the plan's order."""
    rules: dict[str, list[tuple[str, int]]] = {}
    for environment, rule, count in connection.execute(_RULES, (run_id,)):
        rules.setdefault(environment, []).append((rule, count))
    rows = connection.execute(_COUNTS, (run_id,))
    return tuple(
        ValidityCount(name, valid, flagged, invalid, unjudged, tuple(rules.get(name, ())))
        for name, valid, flagged, invalid, unjudged in rows
    )


def suspect_values(connection: sqlite3.Connection, run_id: str) -> SuspectValues:
    """Return, for each bound that values of a run exceed, the sentence about the one that exceeds it most.

    Invocations that no comparison uses are left out: invalid ones, and those of attempts that do not count.
    """
    rows = connection.execute(
        "SELECT v_finding.benchmark, metric, host.name, peer.name, environment, rule, sentence FROM v_finding"
        " JOIN invocation USING (invocation_id) JOIN block USING (block_id)"
        " JOIN host ON host.host_id = block.host_id LEFT JOIN host AS peer ON peer.host_id = block.peer_id"
        " WHERE v_finding.run_id = ? AND severity = 'likely artefact' AND invocation.status = 'ok'"
        " AND invocation.validity <> 'invalid' AND v_finding.attempt_counts"
        " ORDER BY rule DESC, seen / max(threshold, 1.0) DESC, invocation_id",
        (run_id,),
    )
    sentences: dict[tuple[str, str, Target, str], dict[str, list[str]]] = {}
    for benchmark, metric, host, peer, environment, rule, sentence in rows:
        of_rules = sentences.setdefault((benchmark, metric, Target(host, peer), environment), {})
        of_rules.setdefault(rule, []).append(sentence)
    return {key: tuple(map(_farthest, of_rules.values())) for key, of_rules in sentences.items()}


def _farthest(sentences: list[str]) -> str:
    count = len(sentences)
    return sentences[0] if count == 1 else f"{sentences[0]} ({count} invocations lie above it)"


def findings(connection: sqlite3.Connection, run_id: str) -> dict[str, tuple[str, ...]]:
    """Return the findings of each invocation of a run, in sentences; one without findings is left out."""
    found: dict[str, tuple[str, ...]] = {}
    for invocation_id, sentence in connection.execute(
        "SELECT invocation_id, sentence FROM v_finding WHERE run_id = ?", (run_id,)
    ):
        found[invocation_id] = (*found.get(invocation_id, ()), sentence)
    return found


@dataclass(frozen=True, slots=True)
class JudgedValue:
    """The value of an invocation, its verdict, and its findings in sentences."""

    invocation_id: str
    validity: str | None
    value: float
    findings: tuple[str, ...]


Place = tuple[str, str, int, str, int, str]
"""Benchmark, target as text, block, environment, replicate, name of a metric: names a value of a run."""

_JUDGED_VALUES = """
SELECT place.key, invocation_id, validity, {value} AS judged, validity_json
FROM json_each(?) AS place
JOIN v_block ON v_block.benchmark = json_extract(place.value, '$[0]')
    AND v_block.target = json_extract(place.value, '$[1]')
    AND v_block.block = json_extract(place.value, '$[2]')
JOIN invocation USING (block_id)
JOIN environment USING (environment_id)
LEFT JOIN (invocation_metric JOIN metric USING (metric_pk)) AS sampled
    ON sampled.invocation_pk = invocation.invocation_pk
    AND sampled.name = json_extract(place.value, '$[5]')
WHERE run_id = ? AND attempt_counts AND judged IS NOT NULL
    AND environment.name = json_extract(place.value, '$[3]')
    AND replicate = json_extract(place.value, '$[4]')
ORDER BY place.key
"""


def judged_values(
    connection: sqlite3.Connection, run_id: str, places: Sequence[Place]
) -> list[tuple[Place, JudgedValue]]:
    """Return the values at these places, in their order; one that is not there is left out.

    Each is of the attempt at its block that counts.
    """
    usage = "".join(f" WHEN '{item.name}' THEN invocation.{item.name}" for item in USAGE_METRICS)
    value = f"CASE json_extract(place.value, '$[5]'){usage} ELSE sampled.value END"
    rows = connection.execute(_JUDGED_VALUES.format(value=value), (json.dumps(places), run_id))
    return [
        (places[number], JudgedValue(invocation_id, validity, judged, _sentences(text)))
        for number, invocation_id, validity, judged, text in rows
    ]


def _sentences(text: str | None) -> tuple[str, ...]:
    return (
        () if text is None else tuple(item.sentence for item in Assessment.from_json(text).validity.findings)
    )


def assessment(connection: sqlite3.Connection, invocation_id: str) -> Assessment | None:
    """Return how an invocation was judged, None where it was not."""
    (text,) = connection.execute(
        "SELECT validity_json FROM invocation WHERE invocation_id = ?", (invocation_id,)
    ).fetchone()
    return None if text is None else Assessment.from_json(text)


def thresholds_json(connection: sqlite3.Connection, run_id: str) -> str | None:
    """Return the limits that a run was begun with, None where none are stored."""
    (text,) = connection.execute("SELECT thresholds_json FROM run WHERE run_id = ?", (run_id,)).fetchone()
    return None if text is None else str(text)
