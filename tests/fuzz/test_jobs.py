"""What agent, lease and controller tell each other is read or refused."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example
from hypothesis import strategies as st

from perfctl.agent import Answer
from perfctl.agent import agent as host_agent
from perfctl.errors import CommandFailed, HostLeased, HostUnreachable
from perfctl.job import (
    Claim,
    HostLease,
    JobTimeout,
    LeaseLost,
    LeaseState,
    ProcessProbe,
    SpoolFull,
    host_lease,
    read_leases,
)
from perfctl.job.host_view import ViewReadings
from perfctl.job.lease import _this_controller
from perfctl.job.protocol import Request, Result
from perfctl.model import Host
from perfctl.shell import Completed
from tests.fuzz.inputs import bounded, given, inputs
from tests.fuzz.mutation import JSON, NUMBERS, TEXTS, mutated, mutated_json

HOST = Host("h1", "192.0.2.1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder for the lease of a host."""
    yield tmp_path_factory.mktemp("state")


# ---- jobs --------------------------------------------------------------------------------------------------

REQUEST = Request("inv-1", ("echo", "x"), 1.5, b"", ProcessProbe("", 1.0), ("/y", 1, 2.0)).header("run")
RESULT = {
    **{"id": "inv-1", "argv": ["x"], "exit_code": 3, "started_ns": 1000, "ended_ns": 2500, "why": "exited"},
    **{"pid": 7, "watched": "", "half_ns": 1500, "left_behind": [], "limit_bytes": 9, "is_cut": False},
    "usage": {
        **{"user_s": 0.5, "system_s": 0.1, "max_rss_bytes": 4096, "minor_faults": 1, "major_faults": 0},
        **{"voluntary_switches": 1, "involuntary_switches": 1},
    },
}


def frame_of(data: bytes) -> tuple[dict[str, Any], list[bytes]] | None:
    """Return the first frame in bytes, None where they are not all of one. Raises FrameError."""
    decoder = host_agent.Decoder()
    decoder.feed(data)
    return decoder.next()


@inputs("messages", 0.04)
@given(mutated_json(REQUEST) | JSON)
def test_any_request_is_taken_whole_or_refused(value: Any) -> bool:
    try:
        frame = frame_of(host_agent.pack(value if isinstance(value, dict) else {"argv": value}))
        assert frame is not None
        job = host_agent.Job("inv-1", host_agent.checked_request({"verb": "run", **frame[0]}))
    except (host_agent.Failure, UnicodeEncodeError):
        return False
    assert job.argv and all(isinstance(word, bytes) and b"\0" not in word for word in job.argv)
    assert 0 <= job.request["timeout_s"] <= 1e9 and job.limit_bytes >= 0
    return True


def test_of_a_hundred_thousand_frames_each_is_read_or_refused() -> None:
    chance = random.Random(11)
    whole = host_agent.pack(REQUEST, [5]) + b"input"
    found = {"read": 0, "refused": 0, "not whole": 0}
    with bounded():
        for _ in range(100_000):
            data = bytearray(whole)
            for _ in range(chance.randrange(4)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            if chance.random() < 0.3:
                begin = chance.randrange(len(data))
                data[begin : begin + chance.randrange(9)] = chance.randbytes(chance.randrange(9))
            if chance.random() < 0.3:
                del data[chance.randrange(len(data)) :]
            try:
                found["not whole" if frame_of(bytes(data)) is None else "read"] += 1
            except host_agent.FrameError:
                found["refused"] += 1
    assert min(found.values()) > 1000


@inputs("messages", 0.08)
@given(mutated_json(RESULT), st.lists(st.binary(max_size=9), max_size=7))
def test_any_result_of_a_job_is_read_or_an_error_of_its_host(header: Any, parts: list[bytes]) -> bool:
    answer = Answer(header if isinstance(header, dict) else {"why": header}, tuple(parts))
    try:
        found = Result.parse(answer, "h1")
        done = found.value(found.argv, "h1")
    except HostUnreachable as error:
        assert error.where == "h1" and len(error.message) < 500
        return False
    except (JobTimeout, SpoolFull, LeaseLost):
        return True
    assert found.started_ns >= 0 and found.ended_ns >= 0 and found.exit_code >= 0
    assert all(isinstance(text, str) for text in (*done.argv, *done.left_behind))
    return True


VIEW = (
    b"==> /proc/1/stat <==\n1 (a b) S 0 1 1 0 -1 4 0 0 0 0 5 6 0 0 20 0 1 0 9" + b" 0" * 16 + b" 3\n"
    b"==> /proc/1/cgroup <==\n0::/x\n==> leader <==\n1\n==> /sys/fs/cgroup/x/cpu.stat <==\nuser_usec 5\n"
)


@inputs("messages", 0.03)
@given(mutated(VIEW.decode()), mutated(VIEW.decode()), st.sampled_from(["", "cgroup:x", "pidfile:/x"]))
@example("", VIEW.decode().replace("leader <==\n1", "leader <==\n\ud800"), "cgroup:x")
def test_any_reading_of_processes_makes_a_view(first: str, last: str, watched: str) -> bool:
    before, after = (text.encode("utf-8", "surrogatepass") for text in (first, last))
    text = ViewReadings(before, after, after, 5, watched, 1).text(0, 10, None)
    assert text.count(b"==> in all <==\n") == 1
    return True


# ---- leases ------------------------------------------------------------------------------------------------


def holder_of(folder: Path) -> dict[str, Any]:
    """Return a holder as a controller writes it."""
    return {
        "key": "k1",
        "boot_id": host_lease.boot_id(),
        "since": 1.5,
        "until": 1e12,
        "run_id": "0198-run",
        "owner": "me@box",
        "purpose": "run",
        "controller": {"machine": "box", "boot_id": "b", "namespace": "pid:[1]", "pid": 1, "start": "5"},
        "roots": [str(folder / "spool")],
    }


def shown(folder: Path) -> dict[str, Any]:
    """Return the host's answer as the controller gets it."""
    answer = host_lease.show({"verb": "show", "folder": str(folder)})
    found: dict[str, Any] = json.loads(json.dumps(answer))
    return found


class OneAnswer:
    """A way to a host whose every command prints the same."""

    name = "h1"

    def __init__(self, stdout: bytes) -> None:
        self.stdout = stdout

    def run(self, argv: Any, **options: Any) -> Completed:
        return Completed(tuple(argv), 0, self.stdout, b"")


TOKENS = NUMBERS | st.sampled_from(["1", "17", " 3 "])


@inputs("messages", 0.06)
@given(st.data(), TOKENS)
def test_any_file_of_a_lease_is_a_holder_or_none(folder: Path, data: st.DataObject, token: str) -> bool:
    holder = data.draw(mutated_json(holder_of(folder)).map(json.dumps) | JSON.map(json.dumps) | TEXTS)
    (folder / "lease").write_bytes(f"{token}\n{holder}\n".encode("utf-8", "surrogatepass"))
    (folder / "lease.until").write_bytes(data.draw(TOKENS).encode() + b" " + data.draw(NUMBERS).encode())
    spool = folder / "spool" / "0198-run" / "jobs"
    spool.mkdir(parents=True, exist_ok=True)
    note = {"timeout_s": 5, "lease": f"{folder}/{data.draw(NUMBERS)}", "argv": ["x"]}
    line = data.draw(mutated_json(note).map(json.dumps) | TEXTS)
    (spool / "j.job").write_bytes(f"{line}\n{data.draw(NUMBERS)}\n".encode("utf-8", "surrogatepass"))
    agent = data.draw(mutated_json({"protocol": 1, "agent": "b:1:2"}).map(json.dumps) | TEXTS)
    (folder / "spool" / "0198-run" / "agent.json").write_bytes(agent.encode("utf-8", "surrogatepass"))
    answer = shown(folder)
    for item in answer["leases"]:
        check_state(LeaseState.parse(item))
    states, runs = read_leases(OneAnswer(json.dumps(answer).encode()), HOST)  # type: ignore[arg-type]
    assert len(states) == len(answer["leases"]) and "0198-run" in (*runs.live, *runs.dead, *runs.results)
    taken = host_lease.take(
        {
            "verb": "take",
            "folder": str(folder),
            "seconds": 1,
            "replace": [],
            "holder": {"key": "k2", "run_id": "r2"},
        }
    )
    assert ("held_by" in taken) == any(state.state == "held" for state in states)
    return bool(states)


def check_state(state: LeaseState) -> None:
    """Check what messages and decisions rest on."""
    assert state.state in ("held", "stale") and str(state).isprintable()
    assert state.controller_is_gone in (True, False)
    assert all(seconds is None or math.isfinite(seconds) for seconds in (state.held_s, state.left_s))


@inputs("messages", 0.04)
@given(st.data())
def test_any_answer_of_a_host_is_read_or_refused(folder: Path, data: st.DataObject) -> bool:
    holder = {
        **holder_of(folder),
        "state": "held",
        "why": "",
        "job_is_running": False,
        "held_s": 1.5,
        "left_s": 2.5,
    }
    answer = {
        "leases": [holder],
        "path": "/x",
        "token": 3,
        "now": 1.5,
        "freed": [],
        "live": [],
        "dead": ["r"],
        "results": [],
    }
    changed = data.draw(mutated_json(answer) | mutated_json({**answer, "held_by": holder}))
    transport: Any = OneAnswer(json.dumps(changed).encode())
    try:
        states, runs = read_leases(transport, HOST)
        for state in states:
            assert str(state) and state.controller_is_gone in (True, False)
        assert all(run.isprintable() for run in (*runs.live, *runs.dead, *runs.results))
        HostLease.take(transport, HOST, Claim.make("run"))
    except (CommandFailed, HostLeased) as error:
        assert error.where == "h1"
        return False
    return True


@pytest.mark.parametrize(
    "content",
    [
        b"9" * 5000 + b"\nnull\n",
        b"1\n" + b"[" * 60_000,
        b'1\n{"key": "k", "boot_id": "b", "since": 1, "until": 1' + b"0" * 400 + b"}\n",
        b'1\n{"key": "k", "boot_id": "b", "since": NaN, "until": Infinity}\n',
        b'1\n{"key": "k", "boot_id": "b", "since": 1, "until": 1, "run_id": {}}\n',
        b'1\n{"key": "k", "boot_id": "b", "since": 1, "until": 1, "run_id": "*"}\n',
        b'1\n{"key": "k", "boot_id": "b", "since": 1, "until": 1, "controller": 3}\n',
        b'1\n{"key": "k", "boot_id": "b", "since": 1, "until": 1, "roots": ["\\ud800"]}\n',
        b"1\n[]\n",
        "²\nnull\n".encode(),
    ],
)
def test_what_is_no_lease_holds_no_host(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lease").write_bytes(content)
    with bounded():
        assert shown(tmp_path)["leases"] == []
    assert host_lease.take(
        {"verb": "take", "folder": str(tmp_path), "seconds": 1, "holder": {"key": "k", "run_id": None}}
    )["token"]


def test_a_folder_with_a_nul_byte_is_none(tmp_path: Path) -> None:
    holder = {**holder_of(tmp_path), "roots": ["/x\0y", str(tmp_path)]}
    (tmp_path / "lease").write_text(f"1\n{json.dumps(holder)}\n")
    (lease,) = shown(tmp_path)["leases"]
    assert lease["roots"] == [str(tmp_path)]
    assert host_lease.read("/x\0y") == (0, None)


@pytest.mark.parametrize("text", ["²", "9" * 5000, "-1", "1x"])
def test_a_process_id_that_is_none_is_no_job(tmp_path: Path, text: str) -> None:
    (tmp_path / "spool" / "r1" / "jobs").mkdir(parents=True)
    (tmp_path / "spool" / "r1" / "jobs" / "j.job").write_text(f'{{"timeout_s": 5}}\n{text}\n')
    (tmp_path / "spool" / "r1" / "agent.json").write_text(json.dumps({"agent": f"b:{text}:{text}"}))
    assert shown(tmp_path)["results"] == ["r1"]


@pytest.mark.parametrize(
    "stdout",
    [b"[]", b"3", b"[" * 50_000, b"{}", b'{"leases": 3}', b'{"leases": [{}]}', b'{"leases": [], "live": 3}'],
)
def test_an_answer_that_is_none_is_an_error_of_its_host(stdout: bytes) -> None:
    with pytest.raises(CommandFailed) as caught:
        read_leases(OneAnswer(stdout), HOST)  # type: ignore[arg-type]
    assert caught.value.where == "h1" and "lease" in caught.value.message


@pytest.mark.parametrize("controller", [{}, {"pid": "x"}, {"pid": []}, {"pid": None, "start": 3}])
def test_a_controller_that_names_no_process_is_not_known_to_be_gone(controller: dict[str, Any]) -> None:
    whole = {**_this_controller(), "pid": None, **controller}
    assert not LeaseState("k", "held", "", "me", "run", None, None, None, False, whole).controller_is_gone
