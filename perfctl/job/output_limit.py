"""The host's part of the limit of outputs: cut the files that jobs write too much into, while they write.

Standard library alone, Python 3.7 or newer; the job server starts it: `python3 output_limit.py SPOOL`. A job
writes its outputs into files of a folder that holds nothing else. The kernel says when one has been written
to (dnotify), so while nothing is printed nothing runs here. A job is never stopped or made to wait: it
appends, and what is over its limit is cut off again. One byte more than the limit stays, by which a cut is
known.

Should this end, or not start, outputs are cut when they are sent.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import sys
import time

_KEEP = re.compile(r" keep_bytes=(\d+) ")
_SMALLEST_LIMIT_BYTES = 4096
_PAUSE_S = 0.02
"""Between two looks: who prints without end must not be slowed down much by this."""


def main(spool: str) -> None:
    """Cut outputs until the process is ended."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
    folder = f"{spool}/output"
    watched = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.fcntl(watched, fcntl.F_NOTIFY, fcntl.DN_MODIFY | fcntl.DN_MULTISHOT)
    while True:
        # By its name: to close a copy of `watched` would end the notices.
        for name in os.listdir(folder):
            # A job that has been collected takes its files with it.
            with contextlib.suppress(OSError):
                cut(f"{folder}/{name}", f"{spool}/jobs/{name.rpartition('.')[0]}.cmd")
        time.sleep(_PAUSE_S)
        signal.sigwait([signal.SIGIO])


def cut(path: str, request: str) -> None:
    """Cut an output to what its job's request says; one without a request stays. Raises OSError."""
    if os.stat(path).st_size <= _SMALLEST_LIMIT_BYTES:
        return
    with open(request, encoding="utf-8", errors="replace") as file:
        found = _KEEP.search(file.readline().partition("; set -- ")[0])
    if found and os.stat(path).st_size > int(found[1]):
        os.truncate(path, int(found[1]))


if __name__ == "__main__":
    main(sys.argv[1])
