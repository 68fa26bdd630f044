"""Detached jobs: commands that keep running when the connection or the controller is lost.

JobShell  --one ready channel-->  attach loop  --FIFO-->  job server (one per run and host)  -->  job
                                      ^                         |
                                      +---- results <--- spool folder (0700)

script     the job server, POSIX sh, and how it gets to the host
protocol   requests and results on a channel
channel    one channel: one job at a time
shell      JobShell: channels, lost connections, cancelling, collecting
hosts      all hosts of a run leased at once, or none
lease      one holder per host: taken and given back by the controller, renewed and checked by each job
host_lease the host's part of it, a file of standard-library Python that is sent there
output_limit cuts outputs on the host while they are written; Python, too
"""

from __future__ import annotations

from perfctl.job.lease import (
    FIRST_S,
    MARGIN_S,
    Claim,
    HostLease,
    HostRuns,
    LeaseLost,
    LeaseState,
    read_leases,
)
from perfctl.job.protocol import JobLost, JobTimeout, ProcessProbe, SpoolFull
from perfctl.job.script import reap
from perfctl.job.shell import JobShell

__all__ = [
    "FIRST_S",
    "MARGIN_S",
    "Claim",
    "HostLease",
    "HostRuns",
    "JobLost",
    "JobShell",
    "JobTimeout",
    "LeaseLost",
    "LeaseState",
    "ProcessProbe",
    "SpoolFull",
    "read_leases",
    "reap",
]
