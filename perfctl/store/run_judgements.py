"""How the invocations of a run were judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import and_, case, func, null, select, tuple_

from perfctl.model import Target
from perfctl.store import tables as db
from perfctl.store.invocation_views import peer, v_finding
from perfctl.store.run_parts import OfRun, with_values
from perfctl.store.run_records import JudgedValue, Place, SuspectValues, ValidityCount
from perfctl.store.run_views import v_block

if TYPE_CHECKING:
    from perfctl.validity.assessment import Assessment

_LEGS_AT_ONCE = 1000
"""PostgreSQL takes 65,535 parameters in a statement, SQLite 32,766 where nobody raised that."""


class JudgementsOfRun(OfRun):
    """Verdicts, and the rules that were crossed."""

    def validity_counts(self) -> tuple[ValidityCount, ...]:
        """Return how many ok invocations of each environment count, and which rules the others crossed."""
        rules: dict[str, list[tuple[str, int]]] = {}
        crossed, judged, planned = v_finding.c, db.invocation.c, db.run_environment.c
        number = func.count(crossed.invocation_id.distinct())
        for environment, rule, count in self._rows(
            select(crossed.environment, crossed.rule, number)
            .join_from(v_finding, db.invocation, judged.invocation_id == crossed.invocation_id)
            .where(crossed.run_id == self.id, judged.status == "ok")
            .group_by(crossed.environment, crossed.rule)
            .order_by(number.desc(), crossed.rule)
        ):
            rules.setdefault(environment, []).append((rule, count))
        rows = self._rows(
            select(
                db.environment.c.name,
                *(
                    func.count().filter(judged.validity.is_not_distinct_from(verdict))
                    for verdict in ("valid", "flagged", "invalid", null())
                ),
            )
            .select_from(
                db.invocation.join(db.block)
                .join(db.environment)
                .join(
                    db.run_environment,
                    and_(planned.run_id == db.block.c.run_id, planned.name == db.environment.c.name),
                )
            )
            .where(db.block.c.run_id == self.id, judged.status == "ok")
            .group_by(db.environment.c.name, planned.position)
            .order_by(planned.position)
        )
        return tuple(
            ValidityCount(name, valid, flagged, invalid, unjudged, tuple(rules.get(name, ())))
            for name, valid, flagged, invalid, unjudged in rows
        )

    def suspect_values(self) -> SuspectValues:
        """Return, for each bound that values exceed, the sentence about the one that exceeds it most.

        Invocations that no comparison uses are left out: invalid ones, and those of attempts that do not
        count.
        """
        crossed, judged = v_finding.c, db.invocation.c
        limit = case((crossed.threshold > 1.0, crossed.threshold), else_=1.0)
        rows = self._rows(
            select(
                *(crossed.benchmark, crossed.metric, db.host.c.name, peer.c.name.label("peer")),
                *(crossed.environment, crossed.rule, crossed.sentence),
            )
            .select_from(
                v_finding.join(db.invocation, judged.invocation_id == crossed.invocation_id)
                .join(db.block, db.block.c.block_id == judged.block_id)
                .join(db.host, db.host.c.host_id == db.block.c.host_id)
                .outerjoin(peer, peer.c.host_id == db.block.c.peer_id)
            )
            .where(
                crossed.run_id == self.id,
                crossed.severity == "likely artefact",
                judged.status == "ok",
                judged.validity != "invalid",
                crossed.attempt_counts,
            )
            .order_by(crossed.rule.desc(), (crossed.seen / limit).desc(), crossed.invocation_id)
        )
        sentences: dict[tuple[str, str, Target, str], dict[str, list[str]]] = {}
        for benchmark, metric, host, other, environment, rule, sentence in rows:
            of_rules = sentences.setdefault((benchmark, metric, Target(host, other), environment), {})
            of_rules.setdefault(rule, []).append(sentence)
        return {key: tuple(map(_farthest, of_rules.values())) for key, of_rules in sentences.items()}

    def findings(self) -> dict[str, tuple[str, ...]]:
        """Return {invocation id: sentences} of the findings of rules and bounds."""
        found: dict[str, tuple[str, ...]] = {}
        for invocation_id, sentence in self._rows(
            select(v_finding.c.invocation_id, v_finding.c.sentence).where(v_finding.c.run_id == self.id)
        ):
            found[invocation_id] = (*found.get(invocation_id, ()), sentence)
        return found

    def judged_values(self, places: Sequence[Place]) -> list[tuple[Place, JudgedValue]]:
        """Return the values at these places with verdict and findings, in their order, those that are there.

        Each is of the attempt at its block that counts.
        """
        judged = db.invocation.c
        leg = (
            *(v_block.c.benchmark, v_block.c.target, v_block.c.block),
            *(db.environment.c.name, judged.replicate),
        )
        found: dict[Place, JudgedValue] = {}
        for metric in dict.fromkeys(place[-1] for place in places):
            invocations, (value, *_) = with_values(v_block, v_block.c.block_id, metric)
            legs = [place[:-1] for place in places if place[-1] == metric]
            statement = (
                select(*leg, judged.invocation_id, judged.validity, value, judged.validity_json)
                .select_from(invocations)
                .where(v_block.c.run_id == self.id, v_block.c.attempt_counts, value.is_not(None))
            )
            for start in range(0, len(legs), _LEGS_AT_ONCE):
                some = tuple_(*leg).in_(legs[start : start + _LEGS_AT_ONCE])
                for *at, invocation_id, validity, number, text in self._rows(statement.where(some)):
                    benchmark, target, block, environment, replicate = at
                    place = (benchmark, target, block, environment, replicate, metric)
                    found[place] = JudgedValue(invocation_id, validity, number, _sentences(text))
        return [(place, found[place]) for place in places if place in found]

    def assessment(self, invocation_id: str) -> Assessment | None:
        """Return how an invocation (its full id) was judged; None where it was not."""
        judged = db.invocation.c
        text = self._value(select(judged.validity_json).where(judged.invocation_id == invocation_id))
        return None if text is None else _assessment(text)


def _farthest(sentences: list[str]) -> str:
    count = len(sentences)
    return sentences[0] if count == 1 else f"{sentences[0]} ({count} invocations lie above it)"


def _assessment(text: str) -> Assessment:
    # Imported here so that opening a database does not wait for all facts and rules.
    from perfctl.validity.assessment import Assessment

    return Assessment.from_json(text)


def _sentences(text: str | None) -> tuple[str, ...]:
    return () if text is None else tuple(item.sentence for item in _assessment(text).validity.findings)
