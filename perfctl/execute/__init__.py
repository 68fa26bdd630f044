"""Run a plan: blocks in their order, as detached jobs, each invocation committed as it ends.

    prepare ── Suite, hosts, Plan ──> conduct
                                        ├── Fleet          one connection and one job server per host
                                        ├── survey         facts of hosts and inside environments
                                        └── Course         rounds; second stages; what failed once more
                                              └── tracks   one thread each, side by side within a round
                                                    └── run_block ── measure ── Store.record_invocation

docs/runs.md tells the story.
"""

from perfctl.execute.conduct import RunOutcome
from perfctl.execute.reap import Reaping, Removed, reap_all, reap_run
from perfctl.execute.resume import resume_run
from perfctl.execute.run import Prepared, RunRequest, prepare, run_suite

__all__ = [
    "Prepared",
    "Reaping",
    "Removed",
    "RunOutcome",
    "RunRequest",
    "prepare",
    "reap_all",
    "reap_run",
    "resume_run",
    "run_suite",
]
