"""The results database, for all other packages. Writes are committed when a method returns."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypeVar

from perfctl.errors import UsageError
from perfctl.model import (
    Block,
    Fingerprint,
    Host,
    InvocationRecord,
    Metric,
    Observation,
    Plan,
    Sample,
    Target,
)
from perfctl.store import (
    artifact,
    derived,
    evidence,
    history,
    reading,
    recording,
    schema,
    series,
    validity,
)
from perfctl.store.evidence import Evidence
from perfctl.store.history import HistoryCell, HistoryRun, NamedBenchmark, NativeValue, Snapshot
from perfctl.store.omissions import Omission, omissions
from perfctl.store.records import (
    BlockState,
    Count,
    InvocationDetail,
    Reparsed,
    RunDetail,
    RunSummary,
)
from perfctl.store.validity import JudgedValue, SuspectValues, ValidityCount
from perfctl.store.writer import Writer
from perfctl.validity import Assessment

if TYPE_CHECKING:
    from perfctl.facts import RunChange
    from perfctl.store.sqlite import SqliteDatabase

BUSY_TIMEOUT_S = 30.0
"""How long a write of a run waits for another process's before giving up."""

T = TypeVar("T")


def open_store(
    url_or_path: str | PathLike[str],
    *,
    create: bool = False,
    read_only: bool = False,
    busy_timeout_s: float = BUSY_TIMEOUT_S,
) -> Store:
    """Open a database by path or sqlite:/// URL; `create` makes one where there is none.

    A write waits up to `busy_timeout_s` for another program's, opening at most OPEN_TIMEOUT_S.
    Raises DatabaseUnavailable (missing, locked, read-only, damaged, not ours), SchemaMismatch (of an older or
    newer perfctl), UsageError (another kind of database).
    """
    # Imported here: SQLAlchemy takes a quarter of a second, and not every command opens a database.
    from perfctl.store.sqlite import SqliteDatabase, path_of

    path = path_of(url_or_path)
    return Store(SqliteDatabase(path, create=create, read_only=read_only, busy_timeout_s=busy_timeout_s))


class Store:
    """An open results database, for any number of threads. Made by `open_store`.

    Names of hosts, environments and benchmarks are those of the run's plan; an unknown one is UnknownName.
    Every method may raise DatabaseUnavailable, and DataError for a row that contradicts the schema.
    """

    def __init__(self, database: SqliteDatabase) -> None:
        self.path = database.path
        self._database = database
        self._writer = Writer(database)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Finish what was given to the writer and close the file; again is harmless."""
        self._writer.close()
        self._database.close()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._database.reading() as connection:
            yield connection.connection.driver_connection

    def _write(self, job: Callable[[sqlite3.Connection], T]) -> T:
        return self._writer.do(lambda connection: job(connection.connection.driver_connection))

    # Writing: runs and what is known of them

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
    ) -> None:
        """Store a new run with status 'running', and its plan, hosts, environments and benchmarks.

        `thresholds_json` is what `validity.Thresholds` writes: the limits of the rules that judge it.
        """
        header = recording.RunHeader(
            run_id, plan_json, tuple(command), perfctl_version, tuple(inventory), thresholds_json
        )
        self._write(lambda connection: recording.insert_run(connection, header, plan, hosts))

    def reopen_run(self, run_id: str) -> None:
        """Set a run back to 'running', to be resumed. Its blocks stay as they are."""
        self._write(lambda connection: recording.update_run(connection, run_id, "running"))

    def end_run(self, run_id: str, status: Literal["complete", "partial", "interrupted"]) -> None:
        """Store how a run ended; blocks that are still running become 'interrupted'."""
        _check_word("status of a run", status, schema.RUN_STATUSES[1:])
        self._write(lambda connection: recording.update_run(connection, run_id, status))

    def grow_plan(self, run_id: str, plan: Plan, plan_json: str) -> None:
        """Replace a run's plan by one with more blocks of the same benchmarks."""
        self._write(lambda connection: recording.update_plan(connection, run_id, plan, plan_json))

    def record_host_snapshot(
        self, run_id: str, host: str, phase: Literal["before", "after"], fingerprint: Fingerprint
    ) -> str:
        """Store the facts of a host before or after a run and return the snapshot's key."""
        _check_word("phase", phase, ("before", "after"))
        return self._write(
            lambda connection: recording.insert_host_snapshot(connection, run_id, host, phase, fingerprint)
        )

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
        whole = recording.with_description(fingerprint, description)
        return self._write(
            lambda connection: recording.insert_environment_snapshot(
                connection, run_id, host, environment, whole
            )
        )

    def record_event(self, run_id: str, level: str, where: str, text: str) -> None:
        """Store an event of a run; `level` is info, warning or error."""
        self._write(lambda connection: recording.insert_event(connection, run_id, level, where, text))

    # Writing: blocks and invocations

    def begin_block(self, run_id: str, block: Block, attempt: int) -> str:
        """Store that an attempt at a block begins and return its key."""
        return self._write(lambda connection: recording.insert_block(connection, run_id, block, attempt))

    def end_block(self, block_id: str, status: Literal["complete", "failed", "interrupted"]) -> None:
        """Store how a block ended."""
        _check_word("status of a block", status, schema.BLOCK_STATUSES[1:])
        self._write(lambda connection: recording.update_block(connection, block_id, status))

    def record_invocation(
        self, record: InvocationRecord, metrics: Sequence[Metric], samples: Sequence[Sample]
    ) -> None:
        """Store an invocation with its raw output, other artifacts and samples, all or nothing.

        Raises DataError for a sample of an undeclared metric, in another unit than its metric's, or that is
        not a finite number; for a repeated index; for a status that is not ok and has no reason; for an
        artifact that is called as an output is; and for an invocation that is already there. Nothing is
        stored then.
        """
        prepared = recording.prepare(record, series.group(metrics, samples))
        self._write(lambda connection: recording.insert_invocation(connection, prepared))

    def rebuild_derived(self) -> int:
        """Make all derived rows anew from the samples and return how many there are."""
        return self._write(derived.rebuild)

    def reparse(self, run: str | None = None) -> Reparsed:
        """Read the kept raw outputs again (of one run, or of all) and replace samples, status and reason.

        For data measured by an older perfctl, after a mistake in a parser was mended. All or nothing.
        """
        from perfctl.store.reparsing import reparse

        run_id = None if run is None else self.run_id(run)
        return self._write(lambda connection: reparse(connection, run_id))

    # Reading. `run` is an id, its unique beginning or end, or 'latest'; UnknownName otherwise.

    def runs(self) -> list[RunSummary]:
        """Return every run, the oldest first."""
        with self._reading() as connection:
            return reading.list_runs(connection)

    def run_id(self, run: str) -> str:
        """Return the full id of a run."""
        with self._reading() as connection:
            return reading.find_run(connection, run)

    def run(self, run: str) -> RunDetail:
        """Return everything stored about a run."""
        with self._reading() as connection:
            return reading.run_detail(connection, reading.find_run(connection, run))

    def plan_json(self, run: str) -> str:
        """Return the plan as `begin_run` or, last, `grow_plan` was given it."""
        with self._reading() as connection:
            return reading.plan_json(connection, reading.find_run(connection, run))

    def block_states(self, run: str) -> list[BlockState]:
        """Return every attempt at every block that has begun, in the order in which they began."""
        with self._reading() as connection:
            return reading.block_states(connection, reading.find_run(connection, run))

    def observations(self, run: str) -> list[Observation]:
        """Return one value per ok invocation and metric: of the last complete attempt, else of the last."""
        with self._reading() as connection:
            return reading.observations(connection, reading.find_run(connection, run))

    def counts(self, run: str) -> list[Count]:
        """Return how many invocations ended in which way."""
        with self._reading() as connection:
            return reading.counts(connection, reading.find_run(connection, run))

    def omissions(self, run: str) -> list[Omission]:
        """Return the invocations without a value, of the attempts that count, and why."""
        with self._reading() as connection:
            return omissions(connection, reading.find_run(connection, run))

    def validity_counts(self, run: str) -> tuple[ValidityCount, ...]:
        """Return how many ok invocations of each environment count, and which rules the others crossed."""
        with self._reading() as connection:
            return validity.validity_counts(connection, reading.find_run(connection, run))

    def findings(self, run: str) -> dict[str, tuple[str, ...]]:
        """Return {invocation id: sentences} of the findings of rules and bounds."""
        with self._reading() as connection:
            return validity.findings(connection, reading.find_run(connection, run))

    def findings_at(
        self, run_id: str, benchmark: str, target: Target, block: int, leg: tuple[str, int], metric: str
    ) -> list[JudgedValue]:
        """Return the findings and the value of `metric` of (environment, replicate) in a block, if any."""
        with self._reading() as connection:
            return validity.findings_at(connection, run_id, benchmark, target, block, leg, metric)

    def suspect_values(self, run: str) -> SuspectValues:
        """Return why values are above what the hardware can do, of invocations that comparisons use."""
        with self._reading() as connection:
            return validity.suspect_values(connection, reading.find_run(connection, run))

    def thresholds_json(self, run: str) -> str | None:
        """Return the limits as `begin_run` was given them, for `validity.Thresholds.from_json`."""
        with self._reading() as connection:
            return validity.thresholds_json(connection, reading.find_run(connection, run))

    def previous_facts(self, run_id: str, host: str) -> Fingerprint | None:
        """Return the facts of a run's host as last seen: after another run or in this one; None if never."""
        with self._reading() as connection:
            return history.previous_facts(connection, run_id, host)

    def changes(self, run: str) -> tuple[RunChange, ...]:
        """Return which facts changed on the run's hosts, and in its environments, while it measured there."""
        with self._reading() as connection:
            # Imported here so that opening a database does not wait for it.
            from perfctl.facts import changes_of

            return changes_of(history.readings(connection, reading.find_run(connection, run)))

    def digests(self, run: str) -> dict[tuple[str, str], dict[str, str]]:
        """Return {(host, environment): {program: sha256}}, as last seen inside each environment."""
        with self._reading() as connection:
            return reading.digests(connection, reading.find_run(connection, run))

    def invocation(self, run: str, invocation: str) -> InvocationDetail:
        """Return everything stored about a run's invocation: by its id, or its unique beginning or end."""
        with self._reading() as connection:
            run_id = reading.find_run(connection, run)
            found = reading.find_invocation(connection, run_id, invocation)
            return reading.invocation_detail(connection, found)

    def evidence(self, run: str, metric: str) -> list[Evidence]:
        """Return every invocation of a run, of any status, and its value of `metric` if it has one."""
        with self._reading() as connection:
            return evidence.evidence(connection, reading.find_run(connection, run), metric)

    def values_of(self, invocation_id: str, metric: str) -> tuple[float, ...]:
        """Return all samples of `metric` of one invocation, in order, warm-up included."""
        with self._reading() as connection:
            return evidence.values_of(connection, invocation_id, metric)

    def assessment(self, invocation_id: str) -> Assessment | None:
        """Return how an invocation (its full id) was judged; None where it was not."""
        with self._reading() as connection:
            return validity.assessment(connection, invocation_id)

    def artifact(self, sha256: str) -> bytes:
        """Return raw bytes by their hash. Raises DataError when they are absent or damaged."""
        with self._reading() as connection:
            return artifact.read(connection, sha256)

    # Reading over many runs, the oldest first

    def history_runs(self) -> list[HistoryRun]:
        """Return every run, without the counts that `runs` has."""
        with self._reading() as connection:
            return history.history_runs(connection)

    def named_benchmarks(self) -> list[NamedBenchmark]:
        """Return every benchmark under every name it had in a plan, that of the newest run last."""
        with self._reading() as connection:
            return history.named_benchmarks(connection)

    def benchmark_cells(self, name: str) -> list[HistoryCell]:
        """Return the values of the benchmarks of a name in all runs, all metrics and legs."""
        with self._reading() as connection:
            return history.benchmark_cells(connection, name)

    def cells_of_key(self, key: str) -> list[HistoryCell]:
        """Return the same of one benchmark (`Benchmark.key`), whatever it was called."""
        with self._reading() as connection:
            return history.cells_of_key(connection, key)

    def baseline_cells(self) -> list[HistoryCell]:
        """Return the headline values of both replicates of the baseline in all runs, for the A/A rate."""
        with self._reading() as connection:
            return history.baseline_cells(connection)

    def native_values(self, run_id: str, host: str, keys: Sequence[str]) -> list[NativeValue]:
        """Return the native values of benchmarks (`Benchmark.key`) on a run's host in every run."""
        with self._reading() as connection:
            return history.native_values(connection, run_id, host, keys)

    def snapshots(self) -> list[Snapshot]:
        """Return which fingerprint each host and environment had in each run."""
        with self._reading() as connection:
            return history.snapshots(connection)

    def facts(self, run_id: str, host: str, environment: str | None = None) -> Fingerprint:
        """Return the facts of a host before a run, or inside an environment there; none if none were read."""
        with self._reading() as connection:
            return history.facts(connection, run_id, host, environment)


def _check_word(what: str, word: str, allowed: Sequence[str]) -> None:
    if word not in allowed:
        raise UsageError(f"the {what} cannot be {word!r}", hint=f"one of: {', '.join(allowed)}")
