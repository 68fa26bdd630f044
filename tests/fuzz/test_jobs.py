"""What job server, lease and controller tell each other is read or refused; nothing of it reaches a shell."""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from perfctl.errors import CommandFailed, HostLeased, UsageError
from perfctl.job import Claim, HostLease, JobLost, LeaseState, ProcessProbe, host_lease, read_leases
from perfctl.job.lease import _this_controller
from perfctl.job.protocol import COUNTER_PARTS, OUTPUT_PARTS, Request, Result, unquote
from perfctl.job.script import parse_list
from perfctl.model import Host
from perfctl.shell import Completed
from tests.fuzz.inputs import bounded, given, inputs
from tests.fuzz.mutation import JSON, NUMBERS, TEXTS, mutated, mutated_json

HOST = Host("h1", "192.0.2.1")
ARGUMENTS = st.lists(
    TEXTS.filter(lambda text: "\0" not in text and "\ud800" not in text), min_size=1, max_size=4
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder for the lease of a host."""
    yield tmp_path_factory.mktemp("state")


# ---- jobs --------------------------------------------------------------------------------------------------


@inputs("messages", 0.02)
@given(ARGUMENTS, TEXTS.filter(lambda text: "\0" not in text and "\ud800" not in text))
def test_no_word_of_a_request_is_carried_out_by_the_shell_that_reads_it(
    folder: Path, words: list[str], place: str
) -> bool:
    mark = folder / "executed"
    words = [word.replace("EXECUTED", str(mark)) for word in words]
    request = Request(
        "job", tuple(words), 1.5, f"/x{place}", ProcessProbe(place, 1.0), (f"/y{place}", 1, 2.0)
    )
    line = request.line("run", 2)
    assert line.count(b"\n") == 1 and unquote(line) == tuple(words)
    code = line.decode("utf-8", "surrogateescape").removeprefix("run job ")
    script = f"nl='\n'\n{code}\nfor w in \"$@\"; do printf '%s\\0' \"$w\"; done"
    printed = subprocess.run(
        ["sh", "-c", script], capture_output=True, timeout=60, check=True, cwd=folder
    ).stdout
    assert printed.split(b"\0")[:-1] == [os.fsencode(word) for word in words]
    assert not mark.exists()
    return True


RESULTS = st.builds(
    "{} {} {} {}\n".format,
    NUMBERS,
    NUMBERS,
    NUMBERS,
    st.sampled_from(["exited", "timeout", "full", "fenced"]),
)


@inputs("messages", 0.08)
@given(
    (RESULTS | mutated("3 1000 2500 exited\n") | TEXTS).map(
        lambda text: text.encode("utf-8", "surrogatepass")
    )
    | st.binary()
)
def test_any_result_of_a_job_is_read_or_lost(line: bytes) -> bool:
    try:
        found = Result.parse(line, [b""] * (OUTPUT_PARTS + COUNTER_PARTS), "h1")
    except JobLost as error:
        assert error.where == "h1"
        return False
    assert (
        found.started_ns >= 0 and found.ended_ns >= 0 and 0 <= found.exit_code < 10**9 and found.why.isalpha()
    )
    assert found.completed(("x",)).exit_code == found.exit_code
    return True


@inputs("messages", 0.05)
@given(mutated("a ended\nb running 2 36500\nc lost\n") | TEXTS)
def test_any_list_of_jobs_is_read_or_refused(text: str) -> bool:
    try:
        jobs = parse_list(text, "h1")
    except CommandFailed as error:
        assert error.where == "h1" and len(error.message) < 500
        return False
    for state in jobs.values():
        assert (
            math.isfinite(state.timeout_s)
            and state.timeout_s >= 0
            and (state.slot is None or state.slot >= 0)
        )
    return bool(jobs)


@pytest.mark.parametrize(
    "line",
    [b"a 1 2 exited\n", b"1 2 3 4\n", b"-1 2 3 exited\n", b"9" * 5000 + b" 1 2 exited\n", b"\xff 1 2 x\n"],
)
def test_a_result_that_is_none_is_a_lost_job(line: bytes) -> None:
    with pytest.raises(JobLost):
        Result.parse(line, [b""] * (OUTPUT_PARTS + COUNTER_PARTS), "h1")


@pytest.mark.parametrize(
    "text", ["\n", "a\n", "a running x y\n", "a running 1\n", "../x ended\n", "a running 1 2 3\n"]
)
def test_a_list_of_jobs_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(CommandFailed, match="the job server's list cannot be read at"):
        parse_list(text, "h1")


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
    (spool / "j.run").write_bytes(data.draw(NUMBERS).encode())
    (spool / "j.cmd").write_bytes(
        f"slot=1 lease='{folder}/{data.draw(NUMBERS)}' token=1; set -- 'x'".encode()
    )
    (folder / "spool" / "0198-run" / "server.pid").write_bytes(data.draw(NUMBERS).encode())
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
    (tmp_path / "spool" / "r1" / "jobs" / "j.run").write_text(text)
    (tmp_path / "spool" / "r1" / "server.pid").write_text(text)
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


def test_an_argument_with_a_nul_byte_is_refused() -> None:
    with pytest.raises(UsageError):
        Request("job", ("a\0",)).line("run", 0)
