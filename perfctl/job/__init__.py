"""Detached jobs: commands that keep running when the connection or the controller is lost.

JobShell  --one ready channel-->  attach loop  --FIFO-->  job server (one per run and host)  -->  job
                                      ^                         |
                                      +---- results <--- spool folder (0700)

script     the job server, POSIX sh, and how it gets to the host
protocol   requests and results on a channel
channel    one channel: one job at a time
shell      JobShell: channels, lost connections, cancelling, collecting
"""

from __future__ import annotations

from perfctl.job.protocol import JobLost, JobTimeout, ProcessProbe, SpoolFull
from perfctl.job.script import reap
from perfctl.job.shell import JobShell

__all__ = ["JobLost", "JobShell", "JobTimeout", "ProcessProbe", "SpoolFull", "reap"]
