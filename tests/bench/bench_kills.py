"""Kill whoever stores results, again and again: what is in the database afterwards is whole.

    python -m tests.bench.bench_kills [KILLS]

Each time a process of its own opens the database and stores invocations of 250 samples, until it gets SIGKILL
at a random moment. Then the database is checked, and each invocation must have all of its samples.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from perfctl.store import check, open_store, query
from tests.bench.bench_store import METRICS, Shape, fill
from tests.postgresql_server import PostgresqlServer

KILLS = 200
SHAPE = Shape("to be killed", values=50, blocks=20, benchmarks=1)
_MOST_S = 0.4
_PARTIAL = f"""
SELECT invocation_id FROM v_invocation LEFT JOIN v_value USING (invocation_id)
GROUP BY invocation_id
HAVING count(metric) <> {len(METRICS)} OR sum(sample_count) <> {len(METRICS) * SHAPE.values}
"""


def kill_one(url: str, after_s: float) -> None:
    """Store until SIGKILL comes, in a child of this process, `after_s` from when its database is open."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with open_store(url) as store:
                os.write(writing, b"open")
                while True:
                    fill(store, SHAPE)
        finally:
            os._exit(1)
    os.close(writing)
    os.read(reading, 4)
    os.close(reading)
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def measure(engine: str, url: str, kills: int) -> None:
    """Kill whoever writes to a database, and print what is there then."""
    open_store(url, create=True).close()
    moments = random.Random(1)
    for _ in range(kills):
        kill_one(url, moments.uniform(0, _MOST_S))
    with open_store(url) as store:
        problems = [text for item in check(store) for text in item.problems]
        stored = sum(run.ok for run in store.runs())
        partial = len(query(store, _PARTIAL, timeout_s=600).rows)
    print(
        f"{engine}: {kills} x SIGKILL, {stored:,} invocations are stored, {partial} of them in part,"
        f" {len(problems)} problems"
    )


def main() -> None:
    """Kill on both engines."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else KILLS
    server = PostgresqlServer(is_durable=True)
    try:
        server.make()
        with tempfile.TemporaryDirectory() as folder:
            measure("SQLite", str(Path(folder) / "killed.db"), kills)
        measure("PostgreSQL", server.url(server.new_database()), kills)
    finally:
        server.remove()


if __name__ == "__main__":
    main()
