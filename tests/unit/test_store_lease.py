"""Leases: two runs never measure on one machine at the same time, and a dead run does not block it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from perfctl.errors import HostLeased
from perfctl.model import Host, new_id
from perfctl.store import lease, open_store

H1, H2, H3 = (Host(f"h{number}", f"192.0.2.{number}") for number in (1, 2, 3))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


@pytest.fixture
def store(path):
    with open_store(path, create=True) as opened:
        yield opened


def test_a_host_is_held_until_it_is_released(store):
    first = store.acquire_lease("run-1", [H1, H2], 60)
    with pytest.raises(HostLeased, match="run-1") as refused:
        store.acquire_lease("run-2", [H2, H3], 60)
    assert (refused.value.where, refused.value.exit_code) == ("h2", 6)
    # All or none: the refused run holds nothing.
    store.acquire_lease("run-3", [H3], 60)
    store.release_lease(first)
    store.release_lease(first)
    store.acquire_lease("run-2", [H1, H2], 60)


def test_the_same_run_is_not_carried_on_twice(store):
    store.acquire_lease("run-1", [H1], 60)
    with pytest.raises(HostLeased):
        store.acquire_lease("run-1", [H1], 60)


def test_a_machine_is_one_under_two_names_and_the_local_one_has_no_address(store):
    store.acquire_lease("run-1", [H1, Host("local", "127.0.0.1", "local")], 60)
    with pytest.raises(HostLeased):
        store.acquire_lease("run-2", [Host("alias", "192.0.2.1")], 60)
    with pytest.raises(HostLeased):
        store.acquire_lease("run-2", [Host("localhost", "localhost", "local")], 60)
    store.acquire_lease("run-2", [Host("h1", "192.0.2.1", port=2222)], 60)


def test_one_run_may_name_a_machine_twice(store):
    store.release_lease(store.acquire_lease("run-1", [H1, Host("alias", "192.0.2.1")], 60))
    store.acquire_lease("run-2", [H1], 60)


def test_a_lease_ends_with_its_time_and_does_not_take_the_next_ones_with_it(store):
    old = store.acquire_lease("run-1", [H1], -1)
    store.acquire_lease("run-2", [H1], 60)
    store.release_lease(old)
    with pytest.raises(HostLeased, match="run-2"):
        store.acquire_lease("run-3", [H1], 60)


_HOLD = """
import sys
from perfctl.model import Host
from perfctl.store import open_store
store = open_store(sys.argv[1])
store.acquire_lease("run-1", [Host("h1", "192.0.2.1")], 3600)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_lease_ends_with_its_process_even_if_that_was_killed(store, path):
    child = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    with pytest.raises(HostLeased, match="run-1"):
        store.acquire_lease("run-2", [H1], 60)
    child.kill()
    # Gone, though its parent has not asked after it yet (a zombie).
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    store.acquire_lease("run-2", [H1], 60)
    child.communicate(timeout=30)


def test_a_lease_of_another_controller_is_believed(store, path, monkeypatch):
    monkeypatch.setattr(lease, "holder", lambda: f"elsewhere/{new_id()}/1/12345")
    store.acquire_lease("run-1", [H1], 60)
    with pytest.raises(HostLeased, match="run-1"):
        store.acquire_lease("run-2", [H1], 60)
