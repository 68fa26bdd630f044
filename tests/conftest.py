"""Which worker runs which test, and the labs that they share (tests/lab.py).

`make test` runs four workers side by side (pytest-xdist). Tests of one file stay together on one worker, in
order. What needs the lab is marked with the hosts that it keeps busy:

    lab("both"), lab("first")      the pair of hosts, and after that the first of them: one worker
    lab("third")                   the third host, whose fixture is `third_host`: a worker of its own
    lab("second")                  the second host of the pair: a worker that waits until the pair is free
    lab("fourth")                  the fourth host, whose fixture is `fourth_host`: any worker that is free
    lab("engine")                  this machine's own engine: no host of the lab, any worker that is free
    (no mark)                      this machine only: the same

`stage="up"` says that the lab need not be provisioned: such tests come first in their queue, and last among
those that keep no host busy, because others need no lab at all. `stage="end"` says that the host is not as it
was provisioned afterwards: such a test is the last of its queue.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests import lab as shared_lab
from tests.lab import FOURTH, PAIR, THIRD, LabAtHand

_QUEUES = {"both": PAIR, "first": PAIR[:1], "third": THIRD, "second": PAIR[1:], "fourth": FOURTH}
"""The hosts that each queue keeps busy, in the order in which workers take the queues."""
_WORKER_OF = {"first": "both"}
"""The queue whose worker takes another one, too."""
_AFTER = {"second": "both"}
"""The queue that has its hosts before another one may have them."""
_queues_of_session: set[str] = set()
_reserved = ExitStack()
_queue_reserved: str | None = None


def _queue(item: pytest.Item) -> str | None:
    """Return the queue of a test, None for one that keeps no host of the lab busy."""
    mark = item.get_closest_marker("lab")
    return None if mark is None or mark.args[0] == "engine" else str(mark.args[0])


def _order(item: pytest.Item) -> tuple[int, int]:
    """Return when a test begins: a worker takes each queue, the others what needs this machine only."""
    mark, queue = item.get_closest_marker("lab"), _queue(item)
    stage = mark.kwargs.get("stage") if mark else None
    if queue is None:
        return len(_QUEUES), stage == "up"
    turn = len(_QUEUES) + 1 if queue == "fourth" else list(_QUEUES).index(queue)
    return turn, {"up": 0, None: 1, "end": 2}[stage]


def pytest_configure(config: pytest.Config) -> None:
    # Workers inherit the width of the terminal in which the tests were started; what is printed must not.
    os.environ.pop("COLUMNS", None)
    # So is what a shell does to commands in the background: they ignore Ctrl-C, and hangups under nohup.
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    if not hasattr(config, "workerinput"):
        shared_lab.begin_session()


def pytest_itemcollected(item: pytest.Item) -> None:
    queue = _queue(item)
    group = f"lab-{_WORKER_OF.get(queue, queue)}" if queue else item.nodeid.partition("::")[0]
    item.add_marker(pytest.mark.xdist_group(group))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_order)
    _queues_of_session.update(queue for item in items if (queue := _queue(item)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Wait until the hosts that a test needs are free; they stay reserved for the tests after it."""
    global _queue_reserved
    queue = _queue(item)
    if queue is not None and queue != _queue_reserved:
        after = _AFTER.get(queue)
        _reserved.enter_context(
            shared_lab.reserved(queue, _QUEUES[queue], after if after in _queues_of_session else None)
        )
        _queue_reserved = queue


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Free the hosts when the next test needs others: by then every fixture that used them is gone.

    After a failed teardown, too: a worker that kept them would wait for itself.
    """
    global _queue_reserved
    try:
        yield
    finally:
        if nextitem is None or _queue(nextitem) != _queue_reserved:
            _reserved.close()
            _queue_reserved = None


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        shared_lab.end_session()


@pytest.fixture(scope="session")
def engine() -> None:
    """See to it that a Docker Engine runs on this machine: the lab starts one where none does."""
    if shutil.which("docker"):
        answer = subprocess.run(["docker", "version"], capture_output=True, timeout=60, check=False)
        if answer.returncode == 0:
            return
    shared_lab.lab_at("up")


@pytest.fixture(scope="session")
def lab() -> LabAtHand:
    """Return the pair of hosts as `perfctl lab up` leaves them, or provisioned already."""
    return shared_lab.lab_at("up")


@pytest.fixture(scope="session")
def provisioned_lab() -> LabAtHand:
    """Return the pair of hosts after `perfctl provision`."""
    return shared_lab.lab_at("provisioned")


@pytest.fixture(scope="session")
def third_host() -> LabAtHand:
    """Return the third host, which is Debian 13, after `perfctl provision`."""
    return shared_lab.lab_at("third", THIRD)


@pytest.fixture(scope="session")
def fourth_host() -> LabAtHand:
    """Return the host with control groups of version 2 alone after `perfctl provision`, without guests."""
    return shared_lab.lab_at("fourth", FOURTH)
