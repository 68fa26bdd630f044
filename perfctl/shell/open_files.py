"""Let this process have as many files open as its connections need."""

from __future__ import annotations

import resource
from pathlib import Path

from perfctl.errors import UsageError

_FILES_PER_HOST = 4
"""A socket; through a ProxyCommand or a jump host, or on this machine, some pipes more."""
_OTHER_FILES = 64


def allow_open_files(host_count: int) -> None:
    """Raise the soft limit of open files to what connections to so many hosts need; again is harmless.

    Raises UsageError where the hard limit is lower.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = len(list(Path("/proc/self/fd").iterdir())) + _OTHER_FILES + _FILES_PER_HOST * host_count
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise UsageError(
            f"{host_count} hosts need up to {needed} open files, and this process may have {hard}",
            hint="measure fewer hosts at a time (--limit), or raise the limit: ulimit -Hn, limits.conf(5)",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
