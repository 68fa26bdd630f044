"""Execute a planned run: blocks in their order, as detached jobs, each invocation committed as it ends.

    PlannedRun ──> execute_run, execute_shard, resume_run
                     ├── Fleet          one connection, lease and agent per host
                     ├── leftovers      what killed runs have left on the hosts is removed
                     ├── preflight      facts of the hosts: is every host fit to be measured?
                     ├── survey         facts inside the environments
                     └── Scheduler      rounds, second stages, failed blocks once more
                           └── tracks   one thread each, side by side within a round
                                 └── run_block ── measure ── Store.record_invocation

These share a RunSession. Nothing here reads a suite or makes a plan; when a pilot is over, the scheduler
calls `plan.grow`. docs/runs.md describes a run from the command to the database.
"""

from perfctl.execute.hosts import HostStatus, host_statuses, steal_hosts
from perfctl.execute.reap import Reaping, Removed, reap_all, reap_run
from perfctl.execute.resume import resume_run
from perfctl.execute.run import RunOutcome, execute_run
from perfctl.execute.shard import execute_shard

__all__ = [
    "HostStatus",
    "Reaping",
    "Removed",
    "RunOutcome",
    "execute_run",
    "execute_shard",
    "host_statuses",
    "reap_all",
    "reap_run",
    "resume_run",
    "steal_hosts",
]
