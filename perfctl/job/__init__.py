"""Detached jobs: commands that keep running when the connection or the controller is lost.

JobShell  -->  perfctl.agent: one agent per run and host  -->  jobs

shell      JobShell: channels, lost connections, cancelling, collecting
protocol   requests and results
armed      jobs that start together, on one host or on many
host_view  which processes used the processors while a job ran
hosts      all hosts of a run leased at once, or none
lease      one holder per host: taken and given back by the controller, renewed and checked by each job
host_lease the host's part of it, a file of standard-library Python that is sent there
"""

from __future__ import annotations

from perfctl.job.armed import ArmedJobs, JointStart, StartSkew, arm, arm_together
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
from perfctl.job.protocol import JobLost, JobTimeout, NeverReleased, ProcessProbe, Request, SpoolFull
from perfctl.job.shell import JobShell, reap

__all__ = [
    "FIRST_S",
    "MARGIN_S",
    "ArmedJobs",
    "Claim",
    "HostLease",
    "HostRuns",
    "JobLost",
    "JobShell",
    "JobTimeout",
    "JointStart",
    "LeaseLost",
    "LeaseState",
    "NeverReleased",
    "ProcessProbe",
    "Request",
    "SpoolFull",
    "StartSkew",
    "arm",
    "arm_together",
    "read_leases",
    "reap",
]
