"""What was true of a run's hosts and environments."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import CompoundSelect, func, literal, null, or_, select, union_all

from perfctl.model import Fact, FactState, Fingerprint
from perfctl.store import tables as db
from perfctl.store.run_parts import OfRun

if TYPE_CHECKING:
    from perfctl.facts import RunChange


class FactsOfRun(OfRun):
    """Fingerprints, and what changed."""

    def facts(self, host: str, environment: str | None = None) -> Fingerprint:
        """Return the facts of a host before the run, or inside an environment there; none if never read."""
        snapshot = db.host_snapshot if environment is None else db.environment_snapshot
        statement = (
            select(db.fingerprint.c.facts_json, snapshot.c.dynamic_json)
            .join_from(snapshot, db.fingerprint)
            .join(db.host, db.host.c.host_id == snapshot.c.host_id)
            .where(snapshot.c.run_id == self.id, db.host.c.name == host)
            .order_by(snapshot.c.rowid.desc())
            .limit(1)
        )
        if environment is None:
            statement = statement.where(db.host_snapshot.c.phase == "before")
        else:
            statement = statement.join(
                db.environment, db.environment.c.environment_id == db.environment_snapshot.c.environment_id
            ).where(db.environment.c.name == environment)
        return _fingerprint(*(self._row(statement) or ("[]", "[]")))

    def previous_facts(self, host: str) -> Fingerprint | None:
        """Return the facts of a host as seen before this run has last read them; None if never.

        Of the same machine: after another run, or in this one.
        """
        seen, planned = db.host_snapshot.c, db.run_host.c
        mine = db.host_snapshot.alias("mine")
        newest = (
            select(func.max(mine.c.rowid))
            .where(mine.c.run_id == self.id, mine.c.host_id == planned.host_id, mine.c.phase == "before")
            .scalar_subquery()
        )
        row = self._row(
            select(db.fingerprint.c.facts_json, seen.dynamic_json)
            .join_from(db.host_snapshot, db.fingerprint)
            .join(db.run_host, planned.host_id == seen.host_id)
            .where(
                *(planned.run_id == self.id, planned.name == host),
                or_(seen.phase == "after", seen.run_id == self.id),
                seen.rowid < newest,
            )
            .order_by(seen.rowid.desc())
            .limit(1)
        )
        return None if row is None else _fingerprint(*row)

    def resources(self) -> dict[str, str | None]:
        """Return the resource that each host of the plan shares with others, None: none."""
        rows = self._rows(
            select(db.run_host.c.name, db.host.c.resource)
            .join_from(db.run_host, db.host)
            .where(db.run_host.c.run_id == self.id)
        )
        return dict(map(tuple, rows))

    def changes(self) -> tuple[RunChange, ...]:
        """Return which facts changed on the run's hosts, and in its environments, while it measured there."""
        # Imported here so that opening a database does not wait for it.
        from perfctl.facts import changes_of

        return changes_of(self._readings())

    def _readings(self) -> dict[tuple[str, str], list[Fingerprint]]:
        """Return the facts of each (host, environment), '' for the host itself, as often as they were read.

        Of readings between which nothing was measured there only the last is kept.
        """
        on_host, inside, measured = db.host_snapshot.c, db.environment_snapshot.c, db.invocation.c
        facts = db.fingerprint.c.facts_json
        host, environment = db.host.c.name.label("host"), db.environment.c.name.label("environment")
        statement: CompoundSelect[*tuple[Any, ...]] = union_all(
            select(
                on_host.taken_at.label("moment"),
                host,
                literal("").label("environment"),
                facts,
                on_host.dynamic_json,
            )
            .select_from(db.host_snapshot.join(db.fingerprint).join(db.host))
            .where(on_host.run_id == self.id),
            select(inside.taken_at, host, environment, facts, inside.dynamic_json)
            .select_from(db.environment_snapshot.join(db.fingerprint).join(db.host).join(db.environment))
            .where(inside.run_id == self.id),
            select(measured.started_at, host, environment, null(), null())
            .select_from(
                db.block.join(db.invocation)
                .join(db.environment)
                .join(db.host, db.host.c.host_id.in_([db.block.c.host_id, db.block.c.peer_id]))
            )
            .where(db.block.c.run_id == self.id, measured.status == "ok"),
        ).order_by("moment")
        found: dict[tuple[str, str], list[Fingerprint]] = {}
        is_measured: set[tuple[str, str]] = set()
        for _, at, within, static, dynamic in self._rows(statement):
            place = (at, within)
            if static is None:
                is_measured |= {place, (at, "")}
                continue
            several = found.setdefault(place, [])
            if several and place not in is_measured:
                several.pop()
            is_measured.discard(place)
            several.append(_fingerprint(static, dynamic))
        return found

    def digests(self) -> dict[tuple[str, str], dict[str, str]]:
        """Return {(host, environment): {program: sha256}}, as last seen inside each environment."""
        seen, programs = db.environment_snapshot.c, db.workload_version.c
        found: dict[tuple[str, str], dict[str, str]] = {}
        for host, environment, program, sha256 in self._rows(
            select(db.host.c.name, db.environment.c.name, programs.program, programs.sha256)
            .select_from(
                db.environment_snapshot.join(db.host)
                .join(db.environment)
                .join(db.workload_version, programs.fingerprint_id == seen.fingerprint_id)
            )
            .where(seen.run_id == self.id, programs.sha256.is_not(None))
            .order_by(seen.rowid, programs.program)
        ):
            found.setdefault((host, environment), {})[program] = sha256
        return found


def _fingerprint(static: str, dynamic: str) -> Fingerprint:
    """Return the facts of a fingerprint's and a snapshot's JSON."""
    return Fingerprint(
        tuple(
            Fact(name, FactState(state), value, is_static)
            for text, is_static in ((static, True), (dynamic, False))
            for name, state, value in json.loads(text)
        )
    )
