"""Which invocations of a run have no value, and why: a comparison names what it leaves out."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from dataclasses import dataclass

from perfctl.model import Target

NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Omission:
    """One leg of a block without a value. `reason` is e.g. 'failed (timeout)' or 'not run'.

    With `is_partial` it has values, and the reason says which ones are missing.
    """

    benchmark: str
    target: Target
    block: int
    environment: str
    replicate: int
    reason: str
    is_partial: bool = False


_BLOCKS = """
SELECT block_id, block.benchmark, host.name, peer.name, block_index, order_json
FROM block
JOIN v_block USING (block_id)
JOIN run_benchmark ON run_benchmark.run_id = block.run_id AND run_benchmark.name = block.benchmark
JOIN host ON host.host_id = block.host_id
LEFT JOIN host AS peer ON peer.host_id = block.peer_id
WHERE block.run_id = ? AND attempt_counts
ORDER BY run_benchmark.position, block.target, block_index
"""

_INVOCATIONS = """
SELECT block_id, environment.name, replicate, invocation.status, invocation.reason, detail
FROM block
JOIN invocation USING (block_id)
JOIN environment USING (environment_id)
WHERE run_id = ?
"""


def omissions(connection: sqlite3.Connection, run_id: str) -> list[Omission]:
    """Return the invocations without a value, or without some of their values, in the attempts that count.

    Those are the attempts of `observations`.
    Planned legs of a block that has ended without them are 'not run'; blocks that never began are not here.
    """
    done: dict[str, dict[tuple[str, int], tuple[str, bool]]] = defaultdict(dict)
    for block_id, environment, replicate, status, reason, detail in connection.execute(
        _INVOCATIONS, (run_id,)
    ):
        is_ok = status == "ok"
        done[block_id][environment, replicate] = (detail if is_ok else f"{status} ({reason})", is_ok)
    found = []
    for block_id, benchmark, host, peer, index, order in connection.execute(_BLOCKS, (run_id,)):
        legs = done[block_id]
        for environment, replicate in json.loads(order):
            reason, is_partial = legs.get((environment, replicate), (NOT_RUN, False))
            if reason:
                leg = (environment, replicate)
                found.append(Omission(benchmark, Target(host, peer), index, *leg, reason, is_partial))
    return found
