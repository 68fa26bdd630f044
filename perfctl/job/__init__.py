"""Detached jobs: commands that go on when the connection or the controller is lost.

JobShell  --one armed channel-->  attach loop  --FIFO-->  job server (one per run and host)  -->  job
                                      ^                         |
                                      +---- results <--- spool folder (0700)

script     the job server, POSIX sh, and how it gets to the host
protocol   what is said on the channel
slot       one channel: one job at a time
shell      JobShell: slots, lost connections, cancelling, collecting
"""

from __future__ import annotations

from perfctl.job.protocol import JobLost, JobTimeout, Look, SpoolFull
from perfctl.job.script import reap
from perfctl.job.shell import JobShell

__all__ = ["JobLost", "JobShell", "JobTimeout", "Look", "SpoolFull", "reap"]
