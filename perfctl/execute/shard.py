"""Execute one shard of a planned run, which other controllers measure the rest of."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import replace

from perfctl.errors import HostLeased
from perfctl.execute.run import RunOutcome, close, run_to_end
from perfctl.model import Listener
from perfctl.plan.file import PlanFile
from perfctl.plan.request import PlannedRun
from perfctl.plan.shards import Shard
from perfctl.ssh import Connect, connect
from perfctl.store import open_store


def execute_shard(
    file: PlanFile,
    shard: Shard,
    *,
    database_url: str,
    inventory: Sequence[str] = (),
    listener: Listener,
    force: bool = False,
    patience_s: float = 0.0,
    connect: Connect = connect,
) -> RunOutcome:
    """Store the planned run unless it is there, and run a shard of it to its end. Raises like `execute_run`.

    Raises UsageError when the shard was begun before, when the run is measured in another number of shards,
    or when this one has nothing to do.
    """
    with open_store(database_url, create=True, patience_s=patience_s) as store:
        file.store(store)
        planned = PlannedRun.from_store(store, file.run_id, inventory=inventory, shard=shard)
        planned = replace(planned, force=force)
        store.writer.begin_shard(file.run_id, shard.number, shard.count, socket.gethostname())
        try:
            return run_to_end(planned, store, listener, connect=connect)
        except HostLeased:
            close(store, planned, "interrupted")
            raise
