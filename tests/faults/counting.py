"""What the databases of a case show: what is missing, what is there twice, and whose times overlap.

The tables and views are read directly, and raw outputs with patterns of their own: nothing here relies on the
code that is attacked. Every finding is a sentence.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import zstandard

_NUMBER = r"([0-9.]+)"
_PRINTED = {
    "sysbench": {
        "events_per_second": rf"events per second:\s+{_NUMBER}",
        "total_time": rf"total time:\s+{_NUMBER}s",
        "total_events": rf"total number of events:\s+{_NUMBER}",
        "latency_min": rf"\bmin:\s+{_NUMBER}",
        "latency_avg": rf"\bavg:\s+{_NUMBER}",
        "latency_max": rf"\bmax:\s+{_NUMBER}",
        "latency_sum": rf"\bsum:\s+{_NUMBER}",
    },
    "netperf": {
        "transactions_per_second": rf"^THROUGHPUT={_NUMBER}",
        "latency_min": rf"^MIN_LATENCY={_NUMBER}",
        "latency_mean": rf"^MEAN_LATENCY={_NUMBER}",
        "latency_p50": rf"^P50_LATENCY={_NUMBER}",
        "latency_p90": rf"^P90_LATENCY={_NUMBER}",
        "latency_p99": rf"^P99_LATENCY={_NUMBER}",
        "latency_max": rf"^MAX_LATENCY={_NUMBER}",
        "latency_stddev": rf"^STDDEV_LATENCY={_NUMBER}",
        "elapsed_time": rf"^ELAPSED_TIME={_NUMBER}",
    },
}
"""The numbers that each program prints once, by the metric that they are."""

_LARGEST_OUTPUT_BYTES = 1 << 20
_SAME = 1e-9


@dataclass(frozen=True, order=True)
class Leg:
    """A planned invocation. Of a pair the target is both hosts, in the order of their names."""

    benchmark: str
    target: str
    block: int
    environment: str
    replicate: int

    def __str__(self) -> str:
        return f"{self.benchmark} {self.target} block {self.block} {self.environment}({self.replicate})"


@dataclass(frozen=True)
class Measured:
    """When an invocation ran, and the hosts that it kept busy."""

    name: str
    hosts: frozenset[str]
    started_ns: int
    ended_ns: int


def opened(database: Path) -> sqlite3.Connection:
    """Open a database to read it, also while a run writes. Raises sqlite3.OperationalError without one."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)
    connection.row_factory = sqlite3.Row
    return connection


def is_made(database: Path) -> bool:
    """Return whether there is a database with its tables: a run may have been stopped before it had any."""
    if not database.exists():
        return False
    with closing(opened(database)) as connection:
        found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'v_artifact'").fetchone()
    return found is not None


def missing_legs(database: Path, planned: Collection[Leg]) -> list[str]:
    """Return the planned invocations that are not ok in a complete block that counts."""
    there: set[Leg] = set()
    if is_made(database):
        with closing(opened(database)) as connection:
            rows = _rows_that_count(connection)
            there = {_leg(row) for row in rows if row["status"] == "ok" and row["block_status"] == "complete"}
    return [f"{leg} is not in the database" for leg in sorted(set(planned) - there)]


def doubled_legs(database: Path) -> list[str]:
    """Return what counts twice: blocks measured again though complete, invocations, and jobs stored twice."""
    if not is_made(database):
        return []
    with closing(opened(database)) as connection:
        complete = Counter(
            f"{row['benchmark']} {row['target']} block {row['block']}"
            for row in connection.execute("SELECT * FROM v_block WHERE status = 'complete'")
        )
        legs = Counter(map(_leg, _rows_that_count(connection)))
        jobs = Counter(
            f"the job that began on {row['host']} at {row['host_started_ns']} ns"
            for row in _timed(connection)
        )
    named = {**complete, **{str(leg): times for leg, times in legs.items()}, **jobs}
    return [f"{name} is there {times} times" for name, times in named.items() if times > 1]


def unequal_samples(database: Path) -> tuple[list[str], list[str]]:
    """Compare what the programs printed with the samples: return (lost, doubled).

    Of each invocation that is ok the stored raw output is read again; every number in it must be one sample.
    """
    lost: list[str] = []
    doubled: list[str] = []
    if not is_made(database):
        return lost, doubled
    with closing(opened(database)) as connection:
        for row in connection.execute(
            "SELECT v.invocation_id, v.workload, artifact.content, artifact.sha256 FROM v_invocation AS v "
            "LEFT JOIN artifact ON artifact.sha256 = v.stdout_sha256 WHERE v.status = 'ok'"
        ):
            where = f"invocation {row['invocation_id']}"
            if row["content"] is None:
                lost.append(f"{where}: its raw output is not stored")
                continue
            stored = _samples(connection, row["invocation_id"])
            for metric, value in printed(row["workload"], _unpacked(row["content"])).items():
                found = stored.get(metric, [])
                if not [each for each in found if abs(each - value) <= _SAME * max(1.0, abs(value))]:
                    lost.append(f"{where}: it printed {metric} {value:g}, stored is {found or 'nothing'}")
                elif len(found) > 1:
                    doubled.append(f"{where}: it printed {metric} once, stored is {found}")
    return lost, doubled


def printed(workload: str, text: str) -> dict[str, float]:
    """Return the numbers of a report by metric."""
    found = {}
    for metric, pattern in _PRINTED[workload].items():
        if match := re.search(pattern, text, re.MULTILINE):
            found[metric] = float(match[1])
    return found


def overlaps(databases: Iterable[Path]) -> list[str]:
    """Return the pairs of invocations, of any run in any of the databases, that one host measured at once.

    The times are of the hosts' monotonic clock, which all hosts of a lab share.
    """
    measured = [item for database in databases if is_made(database) for item in _measured(database)]
    measured.sort(key=lambda item: item.started_ns)
    return [
        f"{first.name} and {second.name} were measured on {', '.join(sorted(shared))} at the same time"
        for first, second in combinations(measured, 2)
        if second.started_ns < first.ended_ns and (shared := first.hosts & second.hosts)
    ]


def run_statuses(database: Path) -> list[str]:
    """Return the status of every run, oldest first; [] where there is none."""
    if not is_made(database):
        return []
    with closing(opened(database)) as connection:
        return [row["status"] for row in connection.execute("SELECT status FROM run ORDER BY rowid")]


def _rows_that_count(connection: sqlite3.Connection) -> list[sqlite3.Row]:
    return connection.execute("SELECT * FROM v_invocation WHERE attempt_counts").fetchall()


def _leg(row: sqlite3.Row) -> Leg:
    target = "->".join(sorted(row["target"].split("->")))
    return Leg(row["benchmark"], target, row["block"], row["environment"], row["replicate"])


def _timed(connection: sqlite3.Connection) -> list[sqlite3.Row]:
    return connection.execute(
        "SELECT v.invocation_id, v.run_id, v.benchmark, v.environment, v.host, v.peer, "
        "raw.host_started_ns, raw.host_ended_ns "
        "FROM v_invocation AS v JOIN invocation AS raw ON raw.invocation_id = v.invocation_id "
        "WHERE raw.host_started_ns IS NOT NULL AND raw.host_ended_ns IS NOT NULL"
    ).fetchall()


def _measured(database: Path) -> Iterator[Measured]:
    with closing(opened(database)) as connection:
        for row in _timed(connection):
            name = f"{row['benchmark']} {row['environment']} {row['invocation_id']} of run {row['run_id']}"
            hosts = frozenset(filter(None, (row["host"], row["peer"])))
            yield Measured(name, hosts, row["host_started_ns"], row["host_ended_ns"])


def _samples(connection: sqlite3.Connection, invocation_id: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for row in connection.execute(
        "SELECT metric, value FROM v_sample WHERE invocation_id = ?", (invocation_id,)
    ):
        found.setdefault(row["metric"], []).append(row["value"])
    return found


def _unpacked(content: bytes) -> str:
    return zstandard.decompress(content, max_output_size=_LARGEST_OUTPUT_BYTES).decode(errors="replace")
