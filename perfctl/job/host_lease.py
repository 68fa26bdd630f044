"""The host's part of leases: who may measure or change this host now. The host's own Python runs it.

Standard library alone, Python 3.7 or newer; it is sent with each call: `python3 - REQUEST < host_lease.py`.
REQUEST and the answer are JSON. docs/leases.md describes both.

A lease is a file of two lines: the fencing token, which only grows, and who holds the host (null: none).
Beside it lies `lease.until`, written by the last job that began: the token, and until when it holds the
host. All other changes are made under one lock of the host, and by a rename, so that a reader sees a whole
file. Times are seconds of CLOCK_BOOTTIME, which no setting of the clock moves and a suspended host does not
stop; they hold for the boot whose id stands beside them.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import math
import os
import re
import stat
import sys
import time
from collections.abc import Iterator

TYPE_CHECKING = False
if TYPE_CHECKING:
    # Not there for the hosts: Python before 3.9 cannot evaluate it, and typing is slow to import.
    from typing import Any

    Record = dict[str, Any]

_ROOTS_FOLDER = "/var/lib/perfctl"
_USERS_FOLDERS = "/var/tmp/perfctl-"
_LOCK = "/var/tmp"
_LOCK_S = 20.0
_LARGEST_BYTES = 65536
_LARGEST_NOTE_BYTES = 16 << 20
_FIRST_JOB_S = 180.0
"""An agent that is younger may not have got its first job yet."""
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_TOKEN = re.compile(rb"\s*\d{1,18}\s*")
_PID = re.compile(r"\s*([0-9]{1,9})(?:\s|$)")
_UNIT_FOLDERS = ("/sys/fs/cgroup/system.slice", "/sys/fs/cgroup/systemd/system.slice")


class Failure(Exception):
    """Why a request could not be answered."""


def main(request: Record) -> Record:
    """Return the answer to a request. Raises Failure."""
    verbs = {"take": take, "renew": renew, "release": release, "show": show}
    with locked():
        return verbs[request["verb"]](request)


def take(request: Record) -> Record:
    """Give the host to the holder in the request, unless another one has it.

    A holder whose key is in `replace` (its controller is gone) is replaced; while a job of it runs only by
    its own run, or with `steal`.
    """
    own = own_path(request)
    freed = []
    for path in [own, *others(request, own)]:
        holder = read(path)[1]
        if holder is None or holder["key"] == request["holder"]["key"]:
            continue
        state = judge(path)
        if state["state"] == "held":
            same_run = holder["run_id"] is not None and holder["run_id"] == request["holder"]["run_id"]
            may_replace = request.get("steal") or same_run or not state["job_is_running"]
            if holder["key"] not in request.get("replace", ()) or not may_replace:
                return {"held_by": state}
        freed.append(state)
        if path != own:
            remove(path)
    token, holder = read(own)
    if holder is None or holder["key"] != request["holder"]["key"]:
        # Also where the file was lost, no token comes twice.
        token = max(token + 1, int(time.time()))
        holder = {**request["holder"], "boot_id": boot_id(), "since": now(), "roots": spool_roots(request)}
    write(own, token, {**holder, "until": now() + request["seconds"]})
    return {"path": own, "token": token, "boot_id": boot_id(), "now": now(), "freed": freed, **left(request)}


def renew(request: Record) -> Record:
    """Hold the host for `seconds` from now on, if it is still this holder's."""
    own = own_path(request)
    token, holder = read(own)
    if holder is None or holder["key"] != request["key"]:
        return {"lost": True}
    write(own, token, {**holder, "until": now() + request["seconds"]})
    return {}


def release(request: Record) -> Record:
    """Give the host back. A job that comes too late finds another token."""
    own = own_path(request)
    token, holder = read(own)
    if holder is not None and holder["key"] == request["key"]:
        write(own, token + 1, None)
    return {}


def show(request: Record) -> Record:
    """Return the leases that are held or stale, and the runs that have left something here."""
    own = own_path(request)
    paths = [path for path in [own, *others(request, own)] if read(path)[1] is not None]
    return {"leases": [judge(path) for path in paths], **left(request)}


# ---- judging ----------------------------------------------------------------------------------------------


def judge(path: str) -> Record:
    """Return the holder of a lease with its state: 'held', or 'stale' and why."""
    token, holder = read(path)
    assert holder is not None
    is_this_boot = holder["boot_id"] == boot_id()
    until = max(holder["until"], renewed_until(path, token))
    job_is_running = is_this_boot and any(map(running_jobs, spools(holder["roots"], holder["run_id"] or "")))
    state, why = "held", ""
    if not is_this_boot:
        state, why = "stale", "the host has restarted since"
    elif until <= now() and not job_is_running:
        state, why = "stale", "its time is over, and no job of it runs"
    return {
        **holder,
        "state": state,
        "why": why,
        "job_is_running": job_is_running,
        "held_s": now() - holder["since"] if is_this_boot else None,
        "left_s": max(0.0, until - now()) if is_this_boot else None,
    }


def renewed_until(path: str, token: int) -> float:
    """Return until when the last job that began under a lease holds the host, 0 where none did."""
    words = content(path + ".until").partition("\n")[0].split()
    try:
        return finite(words[1]) if words[0] == str(token) else 0.0
    except (LookupError, ValueError, OverflowError):
        return 0.0


def notes(spool: str) -> Iterator[tuple[str, Record, int]]:
    """Yield each job that was asked for: path of its files, request, process (0: none is noted)."""
    for path in glob.glob(glob.escape(spool) + "/jobs/*.job"):
        line, _, rest = content(path, _LARGEST_NOTE_BYTES).partition("\n")
        try:
            request = dict(json.loads(line))
        except (ValueError, TypeError, RecursionError):
            request = {}
        yield path[: -len(".job")], request, process_id(rest)


def running_jobs(spool: str) -> list[int]:
    """Return the processes of the jobs with a time limit that have not ended, whoever waits for them."""
    return [
        pid
        for path, request, pid in notes(spool)
        if request.get("timeout_s") is not None
        and pid
        and not os.path.exists(path + ".end")
        and is_job(pid, os.path.basename(spool))
    ]


def process_id(text: str) -> int:
    """Return the number at the start of a text that may be a process's, else 0."""
    found = _PID.match(text)
    return int(found[1]) if found else 0


def is_job(pid: int, run: str) -> bool:
    """Return whether a process is alive and a job of the run: process ids are used again, its mark is not."""
    fields = stat_fields(pid)
    if not fields or fields[0] in "ZX":
        return False
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return b"\0PERFCTL_JOB=" + run.encode() + b"/" in b"\0" + file.read()
    except OSError:
        # Another user's: a job leads a session of its own.
        return fields[3] == str(pid)


def stat_fields(pid: int) -> list[str]:
    """Return what follows the name in /proc/PID/stat; [] when the process is gone."""
    return content(f"/proc/{pid}/stat").rpartition(")")[2].split()


# ---- what runs have left ----------------------------------------------------------------------------------


def left(request: Record) -> Record:
    """Return the runs of which something is here.

    Those in `live` are measuring. Of those in `dead` processes or guests are left, of those in `results` only
    results that no controller has collected. With a folder of its own, a host has only what lies there.
    """
    live, dead, results = set(), set(), set()
    for spool in spools(spool_roots(request), "*"):
        run = os.path.basename(spool)
        age_s = agent_age_s(spool)
        if running_jobs(spool) or is_held_by(spool, run) or (age_s is not None and age_s < _FIRST_JOB_S):
            live.add(run)
        elif age_s is not None or any(pid and is_job(pid, run) for _, _, pid in notes(spool)):
            dead.add(run)
        else:
            results.add(run)
    if not request.get("folder"):
        dead |= (units() | guests()) - live
        results -= dead
    own = request.get("holder", {}).get("run_id")
    return {
        name: sorted(runs - {own}) for name, runs in (("live", live), ("dead", dead), ("results", results))
    }


def is_held_by(spool: str, run: str) -> bool:
    """Return whether a run still holds the lease that its last jobs were begun under."""
    for _, request, _ in notes(spool):
        path = str(request.get("lease") or "")
        holder = read(path)[1] if path else None
        if holder and holder["run_id"] == run and judge(path)["state"] == "held":
            return True
    return False


def agent_age_s(spool: str) -> float | None:
    """Return for how long the agent of a spool has run; None when it does not."""
    try:
        agent = json.loads(content(spool + "/agent.json"))["agent"]
        boot, pid, start = agent.split(":")
        fields = stat_fields(process_id(pid))
        if boot == boot_id() and fields and fields[19] == start and fields[0] not in "ZX":
            return now() - float(start) / os.sysconf("SC_CLK_TCK")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        pass
    return None


def units() -> set[str]:
    """Return the runs whose agent's unit has processes, wherever its spool lies."""
    found = set()
    for folder in _UNIT_FOLDERS:
        for path in glob.glob(folder + "/perfctl-*.service"):
            run = os.path.basename(path)[len("perfctl-") : -len(".service")]
            with contextlib.suppress(OSError):
                age_s = time.time() - os.stat(path).st_mtime
                if _RUN.fullmatch(run) and content(path + "/cgroup.procs") and age_s > _FIRST_JOB_S:
                    found.add(run)
    return found


def guests() -> set[str]:
    """Return the runs whose guests are here, running or not."""
    runs = {content(path).strip() for path in glob.glob(_ROOTS_FOLDER + "/vm/guests/*/run")}
    return {run for run in runs if _RUN.fullmatch(run)}


def spool_roots(request: Record) -> list[str]:
    """Return the folders in which this user's runs have their spool; docs/jobs.md has them, too."""
    if request.get("folder"):
        return [request["folder"] + "/spool"]
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    first = _ROOTS_FOLDER if os.geteuid() == 0 else home + "/perfctl"
    return [first + "/spool", f"{_USERS_FOLDERS}{os.geteuid()}/spool"]


def spools(roots: list[str], run: str) -> list[str]:
    """Return the spool folders of a run ('*': of all runs)."""
    paths = [path for root in roots for path in glob.glob(glob.escape(root) + "/" + run) if run]
    return [
        path for path in paths if os.path.isdir(path + "/jobs") and _RUN.fullmatch(os.path.basename(path))
    ]


# ---- files ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Hold the host's lock: one request after another, of all users. Raises Failure."""
    folder = os.open(_LOCK, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deadline = time.monotonic() + _LOCK_S
        while True:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Failure(f"another process has locked {_LOCK} for {_LOCK_S:.0f} s") from None
                time.sleep(0.01)
        yield
    finally:
        os.close(folder)


def own_path(request: Record) -> str:
    """Return where this user's lease lies: the first folder that can be written. Raises Failure."""
    if request.get("folder"):
        folders = [request["folder"]]
    else:
        folders = [f"{_USERS_FOLDERS}{os.geteuid()}"]
        if os.geteuid() == 0:
            folders.insert(0, _ROOTS_FOLDER)
    for folder in folders:
        with contextlib.suppress(OSError):
            os.makedirs(folder, mode=0o755, exist_ok=True)
            status = os.lstat(folder)
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
                continue
            if not os.access(folder, os.W_OK):
                continue
            if not status.st_mode & 0o001 and not request.get("folder"):
                # Others must see the lease; the spool folder within is closed to them by itself.
                os.chmod(folder, stat.S_IMODE(status.st_mode) | 0o011)
            return f"{folder}/lease"
    raise Failure("no place for the lease in: " + " ".join(folders))


def others(request: Record, own: str) -> list[str]:
    """Return where other users' leases may lie."""
    if request.get("folder"):
        return []
    paths = [_ROOTS_FOLDER + "/lease", *glob.glob(_USERS_FOLDERS + "*/lease")]
    return [path for path in paths if path != own]


def read(path: str) -> tuple[int, Record | None]:
    """Return token and holder of a lease; (0, None) where there is none, or what is there is no lease."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or not has_right_owner(path, status.st_uid):
                return 0, None
            first, _, rest = file.read(_LARGEST_BYTES).partition(b"\n")
    except (OSError, ValueError):
        # A path with a NUL byte is no path.
        return 0, None
    token = int(first) if _TOKEN.fullmatch(first) else 0
    try:
        holder = json.loads(rest)
        return token, None if holder is None or not _TOKEN.fullmatch(first) else whole_holder(holder)
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return token, None


def whole_holder(found: Record) -> Record:
    """Return a holder with every field of its type: another user may have written it.

    Raises ValueError, LookupError, TypeError or OverflowError for what is none.
    """
    holder = {"run_id": None, "owner": "", "purpose": "", "controller": {}, "roots": [], **found}
    for name, kind in (("key", str), ("boot_id", str), ("owner", str), ("purpose", str)):
        holder[name] = kind(holder[name])
    for name in ("since", "until"):
        holder[name] = finite(holder[name])
    holder["controller"] = dict(holder["controller"])
    if holder["run_id"] is not None and not _RUN.fullmatch(holder["run_id"]):
        raise ValueError("no run has such an id")
    # os.fsencode: half of a character, and a NUL byte, can be in no path.
    holder["roots"] = [root for root in map(str, holder["roots"]) if os.fsencode(root).find(b"\0") < 0]
    return holder


def finite(value: Any) -> float:
    """Return a number. Raises ValueError for infinity and for what is none."""
    number = float(value)
    if not -math.inf < number < math.inf:
        raise ValueError("no time is infinite")
    return number


def has_right_owner(path: str, uid: int) -> bool:
    """Return whether a lease was written by whom its folder is for: in /var/tmp anybody may make folders."""
    user = path[len(_USERS_FOLDERS) :].partition("/")[0] if path.startswith(_USERS_FOLDERS) else ""
    return uid in (0, os.geteuid()) or user == str(uid)


def write(path: str, token: int, holder: Record | None) -> None:
    """Replace a lease."""
    new = path + ".new"
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644), "w") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(f"{token}\n{json.dumps(holder)}\n")
    os.rename(new, path)


def remove(path: str) -> None:
    """Remove another user's lease, which only root can; another user's own that is stale is let be.

    Its jobs find no token then. The folder is that user's, and may have become a link to another one.
    """
    if os.geteuid() == 0:
        folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            os.unlink(os.path.basename(path), dir_fd=folder)
        finally:
            os.close(folder)
    elif judge(path)["state"] == "held":
        raise Failure("another user holds it: only root can take it away")


def content(path: str, most_characters: int = _LARGEST_BYTES) -> str:
    """Return the text of a small file, '' where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(most_characters)
    except OSError:
        return ""


def now() -> float:
    """Return the time since the host was booted, suspended times included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Return the id of this boot."""
    return content("/proc/sys/kernel/random/boot_id").strip()


if __name__ == "__main__":
    try:
        answer = main(json.loads(sys.argv[1]))
    except (Failure, OSError) as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))
