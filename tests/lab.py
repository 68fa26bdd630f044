"""The labs that all tests share: four systemd hosts on this machine, brought up and provisioned once.

    perfctl-test-1, -2     the pair: Debian 12
    perfctl-more-1         the third host: Debian 13, with guests
    perfctl-more-2         the fourth host: Debian 12 with control groups of version 2 alone, without guests

The first test that asks starts `python -m tests.lab`, which works in the background while other tests run;
whoever needs a lab waits for its stage:

    worker 1 ──┐                                         up ──> provisioned (the pair) ──> third ──> fourth
    worker 2 ──┼──> .state/test-lab/session.json <── stage, pid, or what failed
    worker 3 ──┘

PERFCTL_TEST_KEEP_LAB=1 leaves them up at the end, so that the next run of the tests starts at once.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from perfctl.lab import LabRequest, down, up

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = REPOSITORY / ".state" / "test-lab"
REQUEST = LabRequest("perfctl-test", 2, False, "172.31.241.0/24", "10.242.0.0/16", ("12",))
MORE = LabRequest(
    *("perfctl-more", 2, False, "172.31.245.0/24", "10.245.0.0/16"), ("13", "12"), ("machine", "v2")
)
PAIR = ("perfctl-test-1", "perfctl-test-2")
THIRD = ("perfctl-more-1",)
FOURTH = ("perfctl-more-2",)
_GROUPS = {PAIR: "pair", THIRD: "third", FOURTH: "fourth"}
INVENTORY = PROJECT / "inventory" / f"{REQUEST.name}.yml"
"""The one that `perfctl lab up` wrote: the pair."""
STAGES = ("up", "provisioned", "third", "fourth")

IMAGE_PACKAGES = {
    "TOOLS": "ca-certificates ethtool iproute2 iputils-ping iputils-tracepath numactl openssh-server procps",
    "BENCHMARKS": "",
}
"""What of Dockerfile.perf is in the hosts' image: disks of guests are made of it again and again."""

_SESSION_VARIABLE = "PERFCTL_TEST_SESSION"
_STAGE_FILE = PROJECT / "session.json"
_LOG = PROJECT / "session.log"
_PROVISION_TIMEOUT_S = 1500
_END_TIMEOUT_S = 30
_LOG_TAIL_BYTES = 6000


@dataclass(frozen=True)
class LabAtHand:
    """Hosts of a lab that is up: an inventory of them alone, and their names."""

    project_dir: Path
    inventory: Path
    hosts: tuple[str, ...]

    def perfctl(self, *arguments: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        """Run the program with this lab's project and inventory."""
        argv = [sys.executable, "-m", "perfctl", "--project", str(self.project_dir)]
        return subprocess.run(
            [*argv, "--inventory", str(self.inventory), *arguments],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def inside(self, host: str, *argv: str, timeout_s: float = 60) -> str:
        """Run a command in a host, not through ssh, and return its output; it must succeed."""
        done = subprocess.run(
            ["docker", "exec", host, *argv], capture_output=True, text=True, timeout=timeout_s, check=False
        )
        assert done.returncode == 0, f"{host}: {argv}\n{done.stdout}{done.stderr}"
        return done.stdout


def begin_session() -> None:
    """Give this test session a name that its workers inherit."""
    os.environ.setdefault(_SESSION_VARIABLE, f"{os.getpid()}-{time.time_ns()}")


def end_session() -> None:
    """Take the labs down if this session brought them up, and end the bring-up if it is still going on."""
    with _locked():
        state = _read()
        if state.get("session") != os.environ.get(_SESSION_VARIABLE):
            return
        if state["reached"] != list(STAGES):
            _end(int(state["pid"]))
        _STAGE_FILE.unlink()
    if os.environ.get("PERFCTL_TEST_KEEP_LAB") != "1":
        for name in (MORE.name, REQUEST.name):
            down(PROJECT, name)


def lab_at(stage: str, hosts: tuple[str, ...] = PAIR) -> LabAtHand:
    """Return hosts of a lab as soon as a stage is reached.

    Raises AssertionError with the log when it cannot.
    """
    with _locked():
        if _read().get("session") != os.environ[_SESSION_VARIABLE]:
            _start()
    while True:
        state = _read()
        if "failed" in state:
            raise AssertionError(f"the lab of the tests: {state['failed']}\n{_log_tail()}")
        if stage in state.get("reached", ()):
            return LabAtHand(PROJECT, _inventory_of(hosts), hosts)
        assert _is_alive(int(state["pid"])), f"the bring-up of the tests' lab was killed\n{_log_tail()}"
        time.sleep(0.2)


@contextmanager
def reserved(queue: str, hosts: tuple[str, ...], after: str | None) -> Iterator[None]:
    """Keep hosts of the lab for this queue's worker alone: all of them or, while another has one, none.

    A queue that comes after another one waits until that has begun, and then for its hosts.
    """
    PROJECT.mkdir(parents=True, exist_ok=True)
    session = os.environ[_SESSION_VARIABLE]
    while after and _session_that_began(after) != session:
        time.sleep(0.2)
    while True:
        with ExitStack() as handles:
            try:
                for host in hosts:
                    handle = handles.enter_context((PROJECT / f"{host}.lock").open("w"))
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                _began(queue).write_text(session)
                yield
                return
        time.sleep(0.2)


def _began(queue: str) -> Path:
    return PROJECT / f"{queue}.began"


def _session_that_began(queue: str) -> str:
    try:
        return _began(queue).read_text()
    except FileNotFoundError:
        return ""


# ---- the bring-up ------------------------------------------------------------------------------------------


def _start() -> None:
    with _LOG.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.lab"],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    while _read().get("pid") != process.pid:
        assert process.poll() is None, f"the bring-up of the tests' lab did not start\n{_log_tail()}"
        time.sleep(0.05)


def _bring_up() -> None:
    """Take the labs through their stages; each is written down when it is reached."""
    state = {"session": os.environ[_SESSION_VARIABLE], "pid": os.getpid(), "reached": []}
    _write(state)
    try:
        up(PROJECT, REQUEST)
        _write_inventories(REQUEST, (PAIR,))
        _reach(state, "up")
        # The pair first: most tests wait for it. Making the image of another release is mostly waiting.
        with ThreadPoolExecutor() as pool:
            pair = pool.submit(_provision, PAIR, state, "provisioned")
            up(PROJECT, MORE)
            pair.result()
        _write_inventories(MORE, (THIRD, FOURTH))
        _provision(THIRD, state, "third")
        _provision(FOURTH, state, "fourth")
    except BaseException as error:
        _write(state | {"failed": f"{type(error).__name__}: {error}"})
        raise


def _provision(hosts: tuple[str, ...], state: dict[str, Any], stage: str) -> None:
    lab = LabAtHand(PROJECT, _inventory_of(hosts), hosts)
    done = lab.perfctl("provision", timeout_s=_PROVISION_TIMEOUT_S)
    print(done.stdout, done.stderr, sep="", flush=True)
    if done.returncode != 0:
        raise RuntimeError(f"perfctl provision exited {done.returncode}")
    _reach(state, stage)


def write_dockerfile() -> Path:
    """Write the Dockerfile of an image of few packages, and return where it is."""
    text = (REPOSITORY / "Dockerfile.perf").read_text()
    for name, packages in IMAGE_PACKAGES.items():
        text, found = re.subn(rf'(?m)^ARG {name}="[^"]*"$', f'ARG {name}="{packages}"', text)
        assert found == 1, name
    dockerfile = PROJECT / "Dockerfile.perf"
    # Written anew it would make the stamps of hosts stale.
    if not dockerfile.exists() or dockerfile.read_text() != text:
        dockerfile.write_text(text)
    return dockerfile


def _write_inventories(lab: LabRequest, groups: Sequence[tuple[str, ...]]) -> None:
    """Have the hosts' image made of few packages, and write an inventory of each group of a lab's hosts."""
    variable = f"    perf_image_dockerfile: {write_dockerfile()}\n"
    whole = PROJECT / "inventory" / f"{lab.name}.yml"
    text = whole.read_text()
    if variable not in text:
        whole.write_text(text.replace("  vars:\n", f"  vars:\n{variable}", 1))
    inventory = yaml.safe_load(whole.read_text())
    all_hosts = inventory["all"]["hosts"]
    for hosts in groups:
        inventory["all"]["hosts"] = {name: all_hosts[name] for name in hosts}
        if hosts == FOURTH:
            inventory["all"]["vars"]["perf_vm_host"] = False
        _inventory_of(hosts).write_text(yaml.safe_dump(inventory))


def _inventory_of(hosts: tuple[str, ...]) -> Path:
    return PROJECT / "inventory" / f"{_GROUPS[hosts]}.yml"


def _reach(state: dict[str, Any], stage: str) -> None:
    print(f"{time.strftime('%T')} {stage}", flush=True)
    state["reached"] = [*state["reached"], stage]
    _write(state)


def _end(pid: int) -> None:
    """End the bring-up with all that it started: it leads a process group of its own."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGTERM)
    deadline = time.monotonic() + _END_TIMEOUT_S
    while _is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.1)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# ---- what is written down ----------------------------------------------------------------------------------


@contextmanager
def _locked() -> Iterator[None]:
    PROJECT.mkdir(parents=True, exist_ok=True)
    with (PROJECT / "session.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _read() -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads(_STAGE_FILE.read_text())
    except FileNotFoundError:
        return {}
    return state


def _write(state: dict[str, Any]) -> None:
    partial = _STAGE_FILE.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(state))
    partial.replace(_STAGE_FILE)


def _log_tail() -> str:
    with suppress(OSError):
        return _LOG.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")
    return ""


if __name__ == "__main__":
    _bring_up()
