"""All that changes a database, one transaction at a time: each is committed before its caller goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

from sqlalchemy import Connection, Table, Update, bindparam, select, update

from perfctl.errors import DatabaseUnavailable, UnknownName, UsageError
from perfctl.model import (
    Block,
    Fact,
    FactState,
    Fingerprint,
    Host,
    InvocationRecord,
    Metric,
    Plan,
    Sample,
    canonical_json,
    content_hash,
    new_id,
)
from perfctl.redaction import redact, redact_tree
from perfctl.store import derived, recording, schema
from perfctl.store import series as sample_series
from perfctl.store import tables as db
from perfctl.store.database import Database
from perfctl.store.dialect import Prepared, insert_once, prepared_insert
from perfctl.store.records import Reparsed

P = ParamSpec("P")
T = TypeVar("T")


def _in_transaction(method: Callable[Concatenate[Writer, P], T]) -> Callable[Concatenate[Writer, P], T]:
    """Run a method of Writer in a transaction of its own."""

    @wraps(method)
    def write(writer: Writer, /, *arguments: P.args, **options: P.kwargs) -> T:
        return writer.do(lambda: method(writer, *arguments, **options))

    return write


class Writer:
    """Changes a database, for any number of threads, in the order in which they come.

    Names of hosts, environments and benchmarks are those of the run's plan; an unknown one is UnknownName.
    Every method raises DataError for a row that contradicts the schema, and DatabaseMoved when what is
    committed would not be, or is not, in the file that was opened. An interrupt while waiting does not undo a
    change: it is committed all the same.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="perfctl-writer")
        """For the main thread, whom an interrupt must not leave half way."""
        self._turn = threading.Lock()
        self._is_open = True
        self._connection: Connection

    def do(self, job: Callable[[], T]) -> T:
        """Return what `job` returns, after its commit. Its errors, and the database's, reach the caller."""
        if not self._is_open:
            raise DatabaseUnavailable("the database was closed", where=self._database.name)
        if threading.current_thread() is threading.main_thread():
            return self._thread.submit(self._transact, job).result()
        # To hand it over and wait costs as much as a third of an invocation's transaction.
        return self._transact(job)

    def _transact(self, job: Callable[[], T]) -> T:
        def run(connection: Connection) -> T:
            self._connection = connection
            return job()

        with self._turn:
            return self._database.transact(run)

    def change(self, job: Callable[[Connection], T]) -> T:
        """Return what `job` returns of the connection that it changes the database by, after its commit."""
        return self.do(lambda: job(self._connection))

    def close(self) -> None:
        """Wait for the changes already given; again is harmless."""
        self._is_open = False
        self._thread.shutdown(wait=True)
        # One of another thread may be under way.
        with self._turn:
            pass

    # Runs and what is known of them

    @_in_transaction
    def begin_run(
        self,
        run_id: str,
        plan: Plan,
        plan_json: str,
        hosts: Sequence[Host],
        *,
        command: Sequence[str],
        perfctl_version: str,
        inventory: Sequence[str],
        thresholds_json: str | None = None,
        planned_at: float | None = None,
    ) -> None:
        """Store a new run with status 'running', and its plan, hosts, environments and benchmarks.

        With `planned_at` (Unix seconds) it is one that is measured in shards: nothing of its row changes.
        `thresholds_json` is what `validity.Thresholds` writes: the limits of the rules that judge it.
        """
        run = {
            "run_id": run_id,
            "suite": plan.suite,
            "seed": plan.seed,
            "baseline": plan.baseline,
            "plan_json": plan_json,
            "planned_invocations": plan.invocation_count,
            "command_json": canonical_json(redact_tree(tuple(command))),
            "inventory_json": canonical_json(tuple(inventory)),
            "perfctl_version": perfctl_version,
            "status": "running" if planned_at is None else "planned",
            "started_at": time.time() if planned_at is None else planned_at,
            "thresholds_json": thresholds_json,
        }
        self._insert(db.run, run)
        for host in hosts:
            # No variables, keys or passwords: a database is passed on to others.
            row: dict[str, object] = {
                "name": host.name,
                "address": host.address,
                "connection": host.connection,
                "port": host.port,
                "user_name": host.user,
                "test_address": host.test_address,
                "resource": host.resource,
                "machine": None,
            }
            host_id = self._insert_host(row)
            self._insert(db.run_host, {"run_id": run_id, "name": host.name, "host_id": host_id})
        for position, environment in enumerate(plan.environments):
            row = {
                "environment_id": environment.key,
                "name": environment.name,
                "kind": environment.kind,
                "description": environment.description,
                "fields_json": canonical_json(environment.identity()),
            }
            self._insert_once(db.environment, row)
            link = {"run_id": run_id, "name": environment.name, "environment_id": environment.key}
            self._insert(db.run_environment, link | {"position": position})
        for position, benchmark in enumerate(plan.benchmarks):
            row = {
                "benchmark_id": benchmark.key,
                "workload": benchmark.workload,
                "parameters_json": canonical_json(dict(benchmark.parameters)),
                "scope": benchmark.scope,
                "expected_s": benchmark.expected_s,
                "definition": benchmark.definition or None,
            }
            self._insert_once(db.benchmark, row)
            link = {"run_id": run_id, "name": benchmark.name, "benchmark_id": benchmark.key}
            self._insert(db.run_benchmark, link | {"position": position})

    def _insert_host(self, row: Mapping[str, object]) -> str:
        """Store a host unless it is there, and return its key."""
        host_id = content_hash(row)
        self._insert_once(db.host, {**row, "host_id": host_id})
        return host_id

    def _insert(self, table: Table[Any], row: Mapping[str, object]) -> None:
        prepared_insert(table).run(self._connection, row)

    def _insert_once(self, table: Table[Any], row: Mapping[str, object]) -> bool:
        """Store a row unless one with its key is there, and return whether it was stored."""
        statement = insert_once(self._connection, table).execution_options(preserve_rowcount=True)
        return bool(self._connection.execute(statement, row).rowcount)

    def _update(self, statement: Update, what: str) -> None:
        """Change one row. Raises UnknownName when it is not there."""
        if self._connection.execute(statement).rowcount == 0:
            raise UnknownName(f"there is no {what}")

    @_in_transaction
    def reopen_run(self, run_id: str) -> None:
        """Set a run back to 'running', to be resumed. Its blocks stay as they are."""
        # Whoever resumes it decides about blocks that are still open.
        reopened = update(db.run).where(db.run.c.run_id == run_id).values(status="running", ended_at=None)
        self._update(reopened, f"run {run_id}")

    @_in_transaction
    def end_run(self, run_id: str, status: Literal["complete", "partial", "interrupted"]) -> None:
        """Store how a run ended; blocks that are still running become 'interrupted'."""
        _require_word("status of a run", status, schema.RUN_STATUSES[2:])
        now = time.time()
        ended = update(db.run).where(db.run.c.run_id == run_id).values(status=status, ended_at=now)
        self._update(ended, f"run {run_id}")
        self._connection.execute(
            update(db.block)
            .where(db.block.c.run_id == run_id, db.block.c.status == "running")
            .values(status="interrupted", ended_at=now)
        )

    @_in_transaction
    def begin_shard(self, run_id: str, number: int, count: int, controller: str) -> None:
        """Store that a controller begins a shard. Raises UsageError when it, or other shards, were begun.

        Others: of a run that is measured in another number of shards.
        """
        begun = db.shard.c
        rows = self._connection.execute(select(db.shard).where(begun.run_id == run_id)).all()
        for row in rows:
            which = f"perfctl resume {run_id} --shard {row.number}/{row.shard_count}"
            if row.shard_count != count:
                text = f"the run is measured in {row.shard_count} shards, not in {count}"
                raise UsageError(text, where=f"run {run_id}", hint=f"shard 1 is 1/{row.shard_count}")
            if row.number == number:
                text = f"shard {number}/{count} was begun on {row.controller}, and is {row.status}"
                raise UsageError(text, where=f"run {run_id}", hint=f"go on with it: {which}")
        shard: dict[str, object] = {"run_id": run_id, "number": number, "shard_count": count}
        shard |= {"controller": controller, "begun_at": time.time(), "status": "running"}
        self._insert(db.shard, shard)

    @_in_transaction
    def reopen_shard(self, run_id: str, number: int) -> None:
        """Set a shard back to 'running', to be resumed."""
        self._update_shard(run_id, number, status="running", ended_at=None)

    @_in_transaction
    def end_shard(
        self,
        run_id: str,
        number: int,
        status: Literal["complete", "partial", "interrupted"],
        hosts: Collection[str],
    ) -> None:
        """Store how a shard ended; blocks of its hosts that are still running become 'interrupted'."""
        _require_word("status of a shard", status, schema.SHARD_STATUSES[1:])
        now = time.time()
        self._update_shard(run_id, number, status=status, ended_at=now)
        own = db.block.c
        of_shard = select(db.host.c.host_id).where(db.host.c.name.in_(list(hosts)))
        self._connection.execute(
            update(db.block)
            .where(own.run_id == run_id, own.status == "running", own.host_id.in_(of_shard))
            .values(status="interrupted", ended_at=now)
        )

    def _update_shard(self, run_id: str, number: int, **values: object) -> None:
        which = (db.shard.c.run_id == run_id, db.shard.c.number == number)
        self._update(update(db.shard).where(*which).values(values), f"shard {number} of run {run_id}")

    @_in_transaction
    def grow_plan(self, run_id: str, plan: Plan, plan_json: str) -> None:
        """Replace a run's plan by one with more blocks of the same benchmarks."""
        grown = {"plan_json": plan_json, "planned_invocations": plan.invocation_count}
        self._update(update(db.run).where(db.run.c.run_id == run_id).values(grown), f"run {run_id}")

    @_in_transaction
    def record_host_snapshot(
        self, run_id: str, host: str, phase: Literal["before", "after"], fingerprint: Fingerprint
    ) -> str:
        """Store the facts of a host before or after a run and return the snapshot's key.

        The first facts that name a machine say which one the run's host is.
        """
        _require_word("phase", phase, ("before", "after"))
        self._identify(run_id, host, fingerprint.machine)
        key = new_id()
        place = {"host_snapshot_id": key, "phase": phase}
        self._insert(db.host_snapshot, place | self._snapshot(run_id, host, fingerprint))
        return key

    def _identify(self, run_id: str, name: str, machine: str | None) -> None:
        """Have a run's host be a row that names its machine, unless it is one."""
        planned = db.run_host.c
        which = (planned.run_id == run_id, planned.name == name)
        known = self._connection.execute(
            select(db.host).join_from(db.run_host, db.host).where(*which)
        ).one_or_none()
        if known is None or known.machine is not None or machine is None:
            return
        row = {**known._mapping, "machine": machine}
        del row["host_id"]
        self._connection.execute(update(db.run_host).where(*which).values(host_id=self._insert_host(row)))

    @_in_transaction
    def record_environment_snapshot(
        self,
        run_id: str,
        host: str,
        environment: str,
        fingerprint: Fingerprint,
        description: Mapping[str, str],
    ) -> str:
        """Store the facts inside an environment and return the key for `InvocationRecord.fingerprint_id`.

        `description` (image digest, engine version, ...) becomes static facts `environment.NAME` of the same
        fingerprint, so invocations with one key ran in equal environments; '' is stored as missing.
        """
        described = tuple(
            Fact(f"environment.{name}", FactState.PRESENT if value else FactState.MISSING, value)
            for name, value in sorted(description.items())
        )
        whole = Fingerprint(fingerprint.facts + described)
        place = {
            "environment_snapshot_id": new_id(),
            "environment_id": self._planned(run_id, "environment", environment),
        }
        self._insert(db.environment_snapshot, place | self._snapshot(run_id, host, whole))
        return whole.key

    def _snapshot(self, run_id: str, host: str, fingerprint: Fingerprint) -> dict[str, object]:
        """Store the static facts once per content hash; return what a snapshot has of them and the rest."""
        key = fingerprint.key
        row = {"fingerprint_id": key, "facts_json": _facts_json(fingerprint, is_static=True)}
        if self._insert_once(db.fingerprint, row):
            for program, found in _programs(fingerprint).items():
                self._insert(db.workload_version, {"fingerprint_id": key, "program": program} | found)
        return {
            "run_id": run_id,
            "host_id": self._planned(run_id, "host", host),
            "fingerprint_id": key,
            "dynamic_json": _facts_json(fingerprint, is_static=False),
            "taken_at": time.time(),
        }

    def _planned(self, run_id: str, kind: Literal["host", "environment", "benchmark"], name: str) -> str:
        """Return the key of a host, environment or benchmark of a run's plan."""
        found = _FIND_PLANNED[kind].run(self._connection, {"run": run_id, "name": name}).fetchone()
        if found is None:
            raise UnknownName(f"the run {run_id} has no {kind} {name!r}")
        return str(found[0])

    @_in_transaction
    def record_event(self, run_id: str, level: str, where: str, text: str) -> None:
        """Store an event of a run; `level` is info, warning or error."""
        row = {
            "event_id": new_id(),
            "run_id": run_id,
            "happened_at": time.time(),
            "level": level,
            "place": where,
            "text": redact(text),
        }
        self._insert(db.event, row)

    # Blocks and invocations

    @_in_transaction
    def begin_block(self, run_id: str, block: Block, attempt: int) -> str:
        """Store that an attempt at a block begins and return its key."""
        key, peer = new_id(), block.target.peer
        row = {
            "block_id": key,
            "run_id": run_id,
            "benchmark": block.benchmark,
            "benchmark_id": self._planned(run_id, "benchmark", block.benchmark),
            "target": str(block.target),
            "host_id": self._planned(run_id, "host", block.target.host),
            "peer_id": None if peer is None else self._planned(run_id, "host", peer),
            "block_index": block.index,
            "attempt": attempt,
            "order_json": canonical_json([(item.environment, item.replicate) for item in block.invocations]),
            "status": "running",
            "started_at": time.time(),
        }
        self._insert(db.block, row)
        return key

    @_in_transaction
    def end_block(self, block_id: str, status: Literal["complete", "failed", "interrupted"]) -> None:
        """Store how a block ended."""
        _require_word("status of a block", status, schema.BLOCK_STATUSES[1:])
        ended = {"block": block_id, "how": status, "now": time.time()}
        if _END_BLOCK.run(self._connection, ended).rowcount == 0:
            raise UnknownName(f"there is no block {block_id}")

    def record_invocation(
        self, record: InvocationRecord, metrics: Sequence[Metric], samples: Sequence[Sample]
    ) -> None:
        """Store an invocation with its raw output, other artifacts and samples, all or nothing.

        Raises DataError for a sample of an undeclared metric, in another unit than its metric's, or that is
        not a finite number; for a repeated index; for a status that is not ok and has no reason; for an
        artifact that is called as an output is; and for an invocation that is already there. Nothing is
        stored then.
        """
        prepared = recording.prepare(record, sample_series.group(metrics, samples))
        self.do(lambda: recording.insert_invocation(self._connection, prepared))

    @_in_transaction
    def rebuild_derived(self) -> int:
        """Make all derived rows anew from the samples and return how many there are."""
        return derived.rebuild(self._connection)

    @_in_transaction
    def reparse(self, run_id: str | None = None) -> Reparsed:
        """Read the kept raw outputs again (of one run, or of all) and replace samples, status and reason.

        For data measured by an older perfctl, after a mistake in a parser was mended. All or nothing.
        """
        from perfctl.store.reparsing import reparse

        return reparse(self._connection, run_id)


def _find_planned(kind: str, planned: Table[Any]) -> Prepared:
    of_plan = planned.c
    return Prepared(
        lambda _: select(of_plan[f"{kind}_id"]).where(
            of_plan.run_id == bindparam("run"), of_plan.name == bindparam("name")
        )
    )


_FIND_PLANNED = {
    "host": _find_planned("host", db.run_host),
    "environment": _find_planned("environment", db.run_environment),
    "benchmark": _find_planned("benchmark", db.run_benchmark),
}
_END_BLOCK = Prepared(
    lambda _: (
        update(db.block)
        .where(db.block.c.block_id == bindparam("block"))
        .values(status=bindparam("how"), ended_at=bindparam("now"))
    )
)


def _require_word(what: str, word: str, allowed: Sequence[str]) -> None:
    if word not in allowed:
        raise UsageError(f"the {what} cannot be {word!r}", hint=f"one of: {', '.join(allowed)}")


def _facts_json(fingerprint: Fingerprint, *, is_static: bool) -> str:
    facts = [fact for fact in fingerprint.facts if fact.is_static is is_static]
    return canonical_json(sorted([fact.name, fact.state.value, fact.value] for fact in facts))


def _programs(fingerprint: Fingerprint) -> dict[str, dict[str, str]]:
    """Return {program: {"version": ..., "sha256": ...}} from facts such as `tool.sysbench.sha256`."""
    programs: dict[str, dict[str, str]] = {}
    for fact in fingerprint.facts:
        if fact.name.startswith("tool.") and fact.is_static and fact.state is FactState.PRESENT:
            program, _, what = fact.name.removeprefix("tool.").rpartition(".")
            if program and what in ("version", "sha256"):
                programs.setdefault(program, {})[what] = fact.value
    return programs
