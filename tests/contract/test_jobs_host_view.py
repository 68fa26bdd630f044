"""The host's view: its processes, read while a job runs and after its end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from perfctl.job import JobShell, JobTimeout, ProcessProbe

BUSY = "import time\nend = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass"


def sections(view: bytes) -> dict[str, list[dict[str, str]]]:
    """Return the tables of a view by their titles' first words."""
    tables: dict[str, list[dict[str, str]]] = {}
    for part in view.decode().split("==> ")[1:]:
        title, _, table = part.partition(" <==\n")
        head, *rows = [line.split("\t") for line in table.splitlines()] or [[]]
        tables[title.partition(",")[0]] = [dict(zip(head, row, strict=True)) for row in rows]
    return tables


def test_a_view_shows_the_commands_own_processes_while_they_run(jobs: JobShell) -> None:
    done = jobs.run_job("inv-1", [sys.executable, "-c", BUSY], 30, probe=ProcessProbe("", 1.0))
    jobs.acknowledge("inv-1")
    seen = sections(done.host_view)
    assert list(seen) == ["half way", "after its end", "in all"]
    (own,) = [row for row in seen["half way"] if row["own"] == "yes"]
    assert own["name"].startswith("python")
    assert float(own["user_s"]) > 0
    assert own["pid"] not in {row["pid"] for row in seen["after its end"]}
    totals = {row["of"]: float(row["user_s"]) + float(row["system_s"]) for row in seen["in all"]}
    assert set(totals) == {"command", "environment"}
    assert totals["command"] == totals["environment"] > 0


def test_a_view_has_the_threads_of_a_process_that_is_named(jobs: JobShell, tmp_path: Path) -> None:
    script = (
        "import threading\ndef spin():\n    while True: pass\nthreading.Thread(target=spin).start(); spin()"
    )
    guest = subprocess.Popen([sys.executable, "-c", script])
    try:
        # As libvirt writes it: without the end of the line.
        (tmp_path / "pid").write_text(str(guest.pid))
        done = jobs.run_job("inv-1", ["sleep", "1.5"], 30, probe=ProcessProbe(f"pidfile:{tmp_path}/pid", 1.0))
    finally:
        guest.kill()
        guest.wait(timeout=30)
    jobs.acknowledge("inv-1")
    seen = sections(done.host_view)
    for title in ("half way", "after its end"):
        own = [row for row in seen[title] if row["own"] == "yes"]
        assert {row["pid"] for row in own} == {str(guest.pid)}
        whole = [float(row["user_s"]) for row in own if row["tid"] == "-"]
        threads = [float(row["user_s"]) for row in own if row["tid"] != "-"]
        assert len(whole) == 1
        assert len(threads) == 2
        assert sum(threads) == pytest.approx(whole[0], abs=0.2)
    totals = {row["of"]: float(row["user_s"]) for row in seen["in all"]}
    assert totals["environment"] > totals["command"]


@pytest.mark.parametrize("processes", ["", "cgroup:no-such-group", "pidfile:/no/such file's"])
def test_a_view_of_a_short_command_or_of_what_is_not_there_fails_nothing(
    jobs: JobShell, processes: str
) -> None:
    done = jobs.run_job("inv-1", ["sh", "-c", "echo x; exit 3"], 30, probe=ProcessProbe(processes))
    jobs.acknowledge("inv-1")
    assert (done.text, done.exit_code) == ("x\n", 3)
    assert next(iter(sections(done.host_view))) == "half way: not read"
    assert jobs.run(["true"], timeout_s=30).host_view == b""


def test_a_command_that_timed_out_was_seen_too(jobs: JobShell) -> None:
    with pytest.raises(JobTimeout) as caught:
        jobs.run_job("inv-1", ["sleep", "60"], 1.0, probe=ProcessProbe("", 0.3))
    jobs.acknowledge("inv-1")
    seen = sections(caught.value.completed.host_view)
    assert [row["name"] for row in seen["half way"] if row["own"] == "yes"] == ["sleep"]
