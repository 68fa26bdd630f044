"""The agent's own parts, without a host: frames, names, requests, the rules of its file."""

from __future__ import annotations

import ast
import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from perfctl.agent import agent as host_agent
from perfctl.agent.agent import LARGEST_HEADER_BYTES, LARGEST_PART_BYTES, PREFIX, Decoder, FrameError, pack

FILE = Path(host_agent.__file__)
REQUEST: dict[str, Any] = {
    "verb": "run",
    "id": "inv-1",
    "argv": ["true"],
    "timeout_s": 1.5,
    "limit_bytes": 100,
    "has_input": False,
    "watched": None,
    "half_after_s": None,
    "lease": None,
}


def frames_of(*pieces: bytes) -> list[tuple[dict[str, Any], list[bytes]]]:
    decoder, found = Decoder(), []
    for piece in pieces:
        decoder.feed(piece)
        while (frame := decoder.next()) is not None:
            found.append(frame)
    return found


def test_frames_come_out_as_they_went_in_however_they_are_cut() -> None:
    first = pack({"verb": "input", "text": "ü\udce9\n"}, [3, 0]) + b"abc"
    both = first + pack({"verb": "list"})
    expected = [
        ({"verb": "input", "text": "ü\udce9\n", "parts": [3, 0]}, [b"abc", b""]),
        ({"verb": "list", "parts": []}, []),
    ]
    assert frames_of(both) == expected
    for cut in range(len(both)):
        assert frames_of(both[:cut], both[cut:]) == expected
    assert frames_of(*(both[at : at + 1] for at in range(len(both)))) == expected
    assert frames_of(both[:-1]) == expected[:1]


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        PREFIX.pack(b"PCA\x00", 2) + b"{}",
        PREFIX.pack(host_agent.MAGIC, LARGEST_HEADER_BYTES + 1),
        PREFIX.pack(host_agent.MAGIC, 2) + b"{}",
        PREFIX.pack(host_agent.MAGIC, 1) + b"x",
        PREFIX.pack(host_agent.MAGIC, 2) + b"\xff\xff",
        PREFIX.pack(host_agent.MAGIC, 60_000) + b"[" * 60_000,
        PREFIX.pack(host_agent.MAGIC, 11) + b'{"parts":3}',
        pack({}, [LARGEST_PART_BYTES + 1]),
        pack({}, [-1]),
        pack({}, [True]),
        pack({}, [1.0]),  # type: ignore[list-item]
        pack({}, [1] * 17),
    ],
)
def test_what_is_no_frame_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(FrameError):
        frames_of(data)


def test_a_request_that_lacks_nothing_is_taken() -> None:
    assert host_agent.checked_request(REQUEST) == REQUEST
    whole = {**REQUEST, "lease": ["/x", 3, 1.5], "watched": "", "half_after_s": 2}
    assert host_agent.checked_request(whole) == whole


@pytest.mark.parametrize(
    "changes",
    [
        {"argv": []},
        {"argv": "true"},
        {"argv": ["a\0b"]},
        {"argv": [3]},
        {"timeout_s": None},
        {"timeout_s": -1},
        {"timeout_s": float("nan")},
        {"timeout_s": float("inf")},
        {"timeout_s": True},
        {"half_after_s": "1"},
        {"limit_bytes": 1.5},
        {"limit_bytes": -1},
        {"has_input": 1},
        {"watched": 3},
        {"lease": ["/x", 3]},
        {"lease": ["/x\0", 3, 1.5]},
        {"lease": ["/x", "3", 1.5]},
    ],
)
def test_a_request_that_is_none_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(host_agent.Failure):
        host_agent.checked_request({**REQUEST, **changes})


def test_the_agents_file_is_of_python_3_9_and_the_standard_library_alone() -> None:
    tree = ast.parse(FILE.read_text(encoding="ascii"), feature_version=(3, 9))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).partition(".")[0])
    assert imported <= set(sys.stdlib_module_names)


def test_what_listens_is_found_without_going_through_all_connections(tmp_path: Path) -> None:
    head = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    )
    listening = "".join(f"{n:4}: 00000000:{n:04X} 00000000:0000 0A 00000000:00000000\n" for n in range(1, 40))
    connected = "  40: 0100007F:0016 0100007F:C350 01 00000000:00000000\n" * 1000
    table = tmp_path / "tcp"
    table.write_text(head + listening + connected + "  99: 00000000:3241 00000000:0000 0A 0\n")
    with table.open("rb", buffering=0) as file:
        assert list(host_agent.listening_ports(file.fileno())) == [b"%04X" % n for n in range(1, 40)]
        assert file.tell() < len(head + listening) + 300
    assert host_agent.listens(str(tmp_path), 39)
    assert not host_agent.listens(str(tmp_path), 0x50)
    (tmp_path / "tcp6").write_text(head + f"   0: {'0' * 32}:0050 {'0' * 32}:0000 0A 00000000:00000000")
    assert not host_agent.listens(str(tmp_path), 0x50), "a line that is not whole"
    (tmp_path / "tcp6").write_text(head + f"   0: {'0' * 32}:0050 {'0' * 32}:0000 0A 00000000:00000000\n")
    assert host_agent.listens(str(tmp_path), 0x50)


def test_a_socket_of_either_family_listens_once_it_does() -> None:
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as server:
            server.bind((address, 0))
            port = server.getsockname()[1]
            assert not host_agent.listens("/proc/net", port)
            server.listen()
            assert host_agent.listens("/proc/net", port)
            assert host_agent.listens(f"/proc/{os.getpid()}/net", port)
    with pytest.raises(OSError, match="No such file"):
        host_agent.listens("/proc/999999999/net", 22)


def test_a_lease_that_is_another_ones_is_not_renewed(tmp_path: Path) -> None:
    lease = tmp_path / "lease"
    assert not host_agent.hold(str(lease), 3, 10.0)
    lease.write_text("4\nnull\n")
    assert not host_agent.hold(str(lease), 3, 10.0)
    assert not (tmp_path / "lease.until").exists()
    assert host_agent.hold(str(lease), 4, 10.5)
    assert (tmp_path / "lease.until").read_text() == "4 10.500\n"


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"agent": 3}', '{"agent": "a:b:c"}', "[" * 50_000])
def test_a_damaged_note_of_an_agent_is_no_agent(tmp_path: Path, text: str) -> None:
    (tmp_path / "agent.json").write_text(text)
    assert host_agent.live_agent(str(tmp_path)) is None


def test_notes_of_jobs_are_read_or_empty(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    notes = {"a": '{"timeout_s": 5}\n12\n', "b": '{"timeout_s": 5}\n', "c": "rubbish\n9\n"}
    notes["d"] = '{"x": 1}\n12'
    for name, text in notes.items():
        (tmp_path / "jobs" / f"{name}.job").write_text(text)
    assert host_agent.noted_jobs(str(tmp_path)) == {
        "a": ({"timeout_s": 5}, 12),
        "b": ({"timeout_s": 5}, 0),
        "c": ({}, 9),
        "d": ({"x": 1}, 0),
    }


def test_a_command_that_never_started_has_no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container, processes that came in from outside have the session and the group 0."""
    outside = host_agent.Process(4, [b"S", b"0", b"0", b"0", *[b"0"] * 15, b"7"])
    monkeypatch.setattr(host_agent, "processes", lambda: {4: outside})
    monkeypatch.setattr(host_agent, "is_marked", lambda pid, *marks: False)
    agent: Any = SimpleNamespace(run="r1", _running={}, _strays={})
    for job_id in ("auto-1", "inv-1"):
        job = host_agent.Job(job_id, host_agent.checked_request({**REQUEST, "verb": "spawn"}))
        job.exit_code = 127
        assert host_agent.Agent._members(agent, job) == set()


def test_of_processes_that_stood_still_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    stats = {"1": b"1 (init) S 0\n", "2": b"2 (busy) R 1\n", "3": b"3 (other) S 2\n"}
    texts = {f"/proc/{pid}/stat": text for pid, text in stats.items()}
    monkeypatch.setattr(host_agent, "content", lambda path: texts.get(path, b""))
    monkeypatch.setattr(os, "listdir", lambda folder: [*stats, "meminfo"])
    view = host_agent.ProcessView("")
    view.read(0)
    texts["/proc/2/stat"] = b"2 (busy) R 2\n"
    texts["/proc/2/cgroup"] = b"0::/a\n"
    view.read_half_way()
    texts["/proc/3/stat"] = b"3 (other) S 3\n"
    view.read(2)
    before, half, after = view.readings
    assert half == b"==> /proc/2/stat <==\n2 (busy) R 2\n==> /proc/2/cgroup <==\n0::/a\n"
    assert after == half + b"==> /proc/3/stat <==\n3 (other) S 3\n"
    # Of those, as they were before; of the first process there is nothing.
    assert sorted(before.split(b"==> ")) == [
        b"",
        b"/proc/2/stat <==\n2 (busy) R 1\n",
        b"/proc/3/stat <==\n3 (other) S 2\n",
    ]
