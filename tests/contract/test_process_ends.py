"""How a process of perfctl ends: by signals, with streams that are closed, full or unread, with few files."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import resource
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from perfctl.store import open_store
from tests.processes import wait_until, with_argument
from tests.unit import store_cases as cases

ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT sum(x) FROM c"
HEAVY = ENDLESS.replace("sum(x)", "sum(length(replace(hex(zeroblob(4000000)), '0', 'ab')))")
VALUES = {("native", 1): 100.0, ("native", 2): 101.0, ("container", 1): 90.0}
CODES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}

needs_sysbench = pytest.mark.skipif(shutil.which("sysbench") is None, reason="needs sysbench")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return the folder of a project whose database has a run."""
    (tmp_path / "perfctl.toml").write_text('inventory = ["here.yml"]\n')
    # A lease of its own: tests that run beside it on this machine would be refused.
    here = {"ansible_connection": "local", "perf_state_dir": str(tmp_path)}
    (tmp_path / "here.yml").write_text(json.dumps({"all": {"hosts": {"here": here}}}))
    with open_store(tmp_path / "results.db", create=True) as store:
        run_id = cases.begin_run(store)
        cases.measure_block(store, run_id, cases.block(), VALUES)
        store.writer.end_run(run_id, "complete")
    return tmp_path


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Return a list of processes that are ended with the test."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        with suppress(ProcessLookupError):
            process.kill()
        process.communicate()


def command(project: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "perfctl", "--project", str(project), *arguments]


def perfctl(
    project: Path, *arguments: str, redirection: str = "", **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run perfctl to its end, with redirections or a pipe of the shell behind it."""
    script = f'"$@" {redirection}'
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", script, "bash", *command(project, *arguments)],
        text=True,
        timeout=120,
        check=False,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def full_pipe() -> tuple[int, int]:
    """Return the ends of a pipe that takes nothing more."""
    reader, writer = os.pipe()
    flags = fcntl.fcntl(writer, fcntl.F_GETFL)
    fcntl.fcntl(writer, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x")
    fcntl.fcntl(writer, fcntl.F_SETFL, flags)
    return reader, writer


def is_short(text: str) -> bool:
    """Return whether a message is of a few lines, and no traceback."""
    return "Traceback" not in text and "Exception ignored" not in text and len(text.splitlines()) <= 3


# ---- streams -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [("runs",), ("query", "--list"), ("--help",), ("suites", "--format", "json")]
)
def test_a_reader_that_goes_away_is_no_failure(project: Path, arguments: tuple[str, ...]) -> None:
    done = perfctl(project, *arguments, redirection="| head -c 1 >/dev/null")
    assert (done.returncode, done.stderr) == (0, "")


def test_more_than_a_pipe_holds_is_no_failure_either(project: Path) -> None:
    many = ENDLESS.replace("sum(x)", "x") + " LIMIT 50000"
    done = perfctl(project, "query", many, "--format", "csv", redirection="| head -1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "x\n", "")


def test_a_failure_keeps_its_exit_code_without_a_reader(project: Path) -> None:
    assert perfctl(project, "show", "nothing", redirection="2>&1 | head -0").returncode == 2
    assert (
        perfctl(project, "gate", "latest", "--max-regression", "5%", redirection="| head -0").returncode == 8
    )


@pytest.mark.parametrize("arguments", [("runs",), ("--help",), ("suites",), ("query", "--list")])
def test_a_full_disk_behind_stdout_is_said_once(project: Path, arguments: tuple[str, ...]) -> None:
    done = perfctl(project, *arguments, redirection=">/dev/full")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr and is_short(done.stderr)


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", "2>&- >/dev/null", ">&- 2>&-", "<&- >&-"])
def test_without_stderr_or_any_stream_the_exit_code_stays(project: Path, redirection: str) -> None:
    assert perfctl(project, "runs", redirection=redirection).returncode == 0
    assert perfctl(project, "show", "nothing", redirection=redirection).returncode == 2


def test_a_closed_stream_is_never_the_database(project: Path) -> None:
    """A file that is opened next would get the number of the closed stream, and what is printed there."""
    before = (project / "results.db").read_bytes()
    for redirection in (">&-", "2>&-", "<&- >&- 2>&-"):
        assert perfctl(project, "db", "check", redirection=redirection).returncode == 0
    assert (project / "results.db").read_bytes() == before


def test_a_full_pipe_that_nobody_reads_stalls_nothing(
    project: Path, started: list[subprocess.Popen[str]]
) -> None:
    reader, writer = full_pipe()
    started.append(
        subprocess.Popen(command(project, "db", "backup", str(project / "copy.db")), stderr=writer, text=True)
    )
    assert started[0].wait(60) == 0
    assert (project / "copy.db").stat().st_size
    os.close(reader)
    os.close(writer)


def test_the_last_words_reach_a_reader_who_is_late(
    project: Path, started: list[subprocess.Popen[str]]
) -> None:
    reader, writer = full_pipe()
    started.append(subprocess.Popen(command(project, "show", "nothing"), stderr=writer, text=True))
    os.close(writer)
    text = b""
    while piece := os.read(reader, 4096):
        text += piece
    os.close(reader)
    assert started[0].wait(60) == 2
    assert b"there is no run 'nothing'" in text


@pytest.mark.parametrize("limit", [6, 9, 14])
@pytest.mark.parametrize("arguments", [("runs",), ("run", "--suite", "cpu", "--blocks", "1")])
def test_too_few_files_are_said_in_a_line(project: Path, limit: int, arguments: tuple[str, ...]) -> None:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    inventory = project / "hosts.ini"
    inventory.write_text("h1 ansible_host=192.0.2.1 ansible_connection=docker\n")
    done = subprocess.run(
        command(project, "-i", str(inventory), *arguments),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=limited,
    )
    assert is_short(done.stderr)
    assert done.returncode or arguments == ("runs",)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("query", "SELECT '\udce9'"), 8),
        (("show", "\udce9"), 2),
        (("suites", "\udce9"), 2),
        (("run", "--suite", "cpu", "--seed", "\udce9", "--dry-run"), 2),
        (("--db", "\udce9.db", "runs"), 8),
        (("\udce9",), 2),
    ],
)
def test_bytes_that_are_no_utf8_are_a_clear_error(
    project: Path, arguments: tuple[str, ...], code: int
) -> None:
    done = perfctl(project, *arguments)
    assert done.returncode == code and "internal error" not in done.stderr
    assert "Traceback" not in done.stderr and "e9" in done.stderr


# ---- signals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_a_signal_ends_a_query(
    project: Path, number: signal.Signals, started: list[subprocess.Popen[str]]
) -> None:
    mark = f"-- {secrets.token_hex(8)}"
    started.append(
        subprocess.Popen(command(project, "query", f"{HEAVY} {mark}"), text=True, stderr=subprocess.PIPE)
    )
    wait_until(lambda: _has_thread(started[0].pid), "the query")
    started[0].send_signal(number)
    started[0].send_signal(number)
    _, error = started[0].communicate(timeout=60)
    assert started[0].returncode == CODES[number]
    assert error.strip().startswith("perfctl: ") and is_short(error)


def _has_thread(pid: int) -> bool:
    """Return whether a process runs a query: its thread computes."""
    return len(list(Path(f"/proc/{pid}/task").iterdir())) > 1


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_a_signal_ends_what_waits_for_a_reader_of_stdout(
    project: Path, number: signal.Signals, started: list[subprocess.Popen[str]]
) -> None:
    reader, writer = full_pipe()
    started.append(
        subprocess.Popen(command(project, "runs"), stdout=writer, stderr=subprocess.PIPE, text=True)
    )
    wait_until(lambda: _waits_in_a_pipe(started[0].pid), "the full pipe")
    started[0].send_signal(number)
    _, error = started[0].communicate(timeout=60)
    assert started[0].returncode == CODES[number] and is_short(error)
    os.close(reader)
    os.close(writer)


def _waits_in_a_pipe(pid: int) -> bool:
    return "pipe" in Path(f"/proc/{pid}/wchan").read_text()


def test_a_signal_that_the_caller_ignores_is_ignored(
    project: Path, started: list[subprocess.Popen[str]]
) -> None:
    started.append(
        subprocess.Popen(
            ["nohup", *command(project, "query", ENDLESS, "--timeout", "6")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
    )
    wait_until(lambda: _has_thread(started[0].pid), "the query")
    started[0].send_signal(signal.SIGHUP)
    _, error = started[0].communicate(timeout=60)
    assert started[0].returncode == 8 and "longer than 6 s" in error


# ---- a run -------------------------------------------------------------------------------------------------


@pytest.fixture
def long_suite(project: Path) -> tuple[str, str]:
    """Return a suite of one block that takes for ever, and an argument of its benchmark that no other has."""
    prime = 10_000 + secrets.randbelow(1_000_000)
    suite = project / "long.toml"
    suite.write_text(
        '[suite]\nname = "long"\nenvironments = ["native"]\nblocks = 1\n'
        '[[benchmark]]\nname = "cpu"\nworkload = "sysbench"\n'
        f'[benchmark.parameters]\ntest = "cpu"\ntime_s = 600\ncpu_max_prime = {prime}\n'
    )
    return str(suite), f"--cpu-max-prime={prime}"


@needs_sysbench
@pytest.mark.parametrize(
    ("number", "stderr"), [(signal.SIGTERM, "full"), (signal.SIGINT, "file"), (signal.SIGHUP, "file")]
)
def test_a_signal_ends_a_run_and_leaves_nothing(
    project: Path,
    long_suite: tuple[str, str],
    number: signal.Signals,
    stderr: str,
    started: list[subprocess.Popen[str]],
) -> None:
    suite, argument = long_suite
    reader, writer = full_pipe()
    with (project / "stderr").open("w") as file:
        started.append(
            subprocess.Popen(
                command(project, "run", "--suite", suite, "--force"),
                stdout=subprocess.PIPE,
                stderr=writer if stderr == "full" else file,
                text=True,
            )
        )
        wait_until(lambda: with_argument(argument), "the benchmark", timeout_s=60)
        started[0].send_signal(number)
        assert started[0].wait(60) == CODES[number]
    wait_until(lambda: not with_argument(argument), "the benchmark's end")
    os.close(reader)
    os.close(writer)
    _assert_closed(project)
    if number is signal.SIGHUP:
        assert "go on: perfctl resume" in (project / "stderr").read_text()


@needs_sysbench
def test_a_closed_terminal_ends_a_run_and_leaves_nothing(
    project: Path, long_suite: tuple[str, str], started: list[subprocess.Popen[str]]
) -> None:
    suite, argument = long_suite
    master, slave = pty.openpty()

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, 0x540E, 0)  # TIOCSCTTY

    started.append(
        subprocess.Popen(
            command(project, "run", "--suite", suite, "--force"),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            preexec_fn=take_terminal,
            text=True,
        )
    )
    os.close(slave)
    wait_until(lambda: with_argument(argument), "the benchmark", timeout_s=60)
    os.close(master)
    assert started[0].wait(60) == 129
    wait_until(lambda: not with_argument(argument), "the benchmark's end")
    _assert_closed(project)


@needs_sysbench
@pytest.mark.parametrize("redirection", ["| head -0", ">/dev/full", ">&- 2>&-"])
def test_a_measured_run_keeps_its_exit_code(project: Path, redirection: str) -> None:
    suite = project / "short.toml"
    suite.write_text(
        '[suite]\nname = "short"\nenvironments = ["native"]\nblocks = 1\n'
        '[[benchmark]]\nname = "cpu"\nworkload = "sysbench"\n'
        '[benchmark.parameters]\ntest = "cpu"\ntime_s = 1\n'
    )
    done = perfctl(project, "run", "--suite", str(suite), "--force", redirection=redirection)
    assert done.returncode == 0 and "Traceback" not in done.stderr
    with open_store(project / "results.db", read_only=True) as store:
        assert store.runs()[-1].status == "complete"


def _assert_closed(project: Path) -> None:
    with open_store(project / "results.db", read_only=True) as store:
        run = store.runs()[-1]
    assert run.status == "interrupted"
    spool = Path("/var/lib/perfctl/spool") / run.run_id
    assert not spool.exists() or not list(spool.iterdir())


# ---- a playbook --------------------------------------------------------------------------------------------

SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture
def playbook(project: Path, started: list[subprocess.Popen[str]]) -> tuple[subprocess.Popen[str], str, Path]:
    """Return a verify that waits for its host, a secret of its environment, and its private folder."""
    mark, canary = secrets.token_hex(8), f"canary{secrets.token_hex(8)}"
    inventory = project / "silent.yml"
    inventory.write_text(
        "all: {hosts: {silent: {ansible_host: 192.0.2.1,"
        f" ansible_ssh_common_args: \"-o ProxyCommand='sleep 1{mark[:3].translate(DIGITS)}'\"}}}}}}\n"
    )
    process = subprocess.Popen(
        command(project, "-i", str(inventory), "verify", "-e", f"mark={mark}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "DEPLOY_TOKEN": canary, "FAVOURITE_WORD": canary},
    )
    started.append(process)
    wait_until(lambda: _folder_with(mark), "the private folder", timeout_s=60)
    (folder,) = _folder_with(mark)
    wait_until((folder / "artifacts" / "run" / "job_events").is_dir, "Ansible's start")
    return process, canary, folder


DIGITS = str.maketrans("abcdef", "012345")


def _folder_with(mark: str) -> list[Path]:
    found = []
    for path in SHARED_MEMORY.glob("perfctl-playbook-*/variables.json"):
        with suppress(OSError):
            if mark in path.read_text():
                found.append(path.parent)
    return found


needs_shared_memory = pytest.mark.skipif(not os.access(SHARED_MEMORY, os.W_OK), reason="needs /dev/shm")


@needs_shared_memory
def test_a_hangup_of_a_playbook_leaves_nothing(playbook: tuple[subprocess.Popen[str], str, Path]) -> None:
    process, canary, folder = playbook
    process.send_signal(signal.SIGHUP)
    output, error = process.communicate(timeout=60)
    assert process.returncode == 129 and canary not in output + error
    assert not folder.exists() and not _marked(folder.name)


@needs_shared_memory
def test_a_killed_playbook_has_written_no_environment_and_its_folder_goes_with_the_next_start(
    project: Path, playbook: tuple[subprocess.Popen[str], str, Path]
) -> None:
    process, canary, folder = playbook
    process.kill()
    process.wait()
    for pid in _marked(folder.name):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert files and not [path for path in files if canary.encode() in path.read_bytes()]
    assert perfctl(project, "runs").returncode == 0
    assert not folder.exists()


@needs_shared_memory
def test_the_folder_of_a_living_process_stays(
    project: Path, playbook: tuple[subprocess.Popen[str], str, Path]
) -> None:
    process, _, folder = playbook
    assert perfctl(project, "runs").returncode == 0
    assert folder.exists()
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 143 and not folder.exists()


def _marked(name: str) -> list[int]:
    """Return the processes below a playbook."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"PERFCTL_PLAYBOOK_ID={name}".encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def test_provision_says_which_hosts_it_means_before_it_reaches_any(project: Path) -> None:
    (project / "perfctl.toml").write_text("")
    (project / "inventory").mkdir()
    (project / "inventory" / "fleet.yml").write_text(
        "all: {hosts: {n1: {}, n2: {}}, vars: {ansible_host: 127.0.0.1, ansible_port: 1}}\n"
    )
    done = perfctl(project, "provision", "--check")
    assert done.returncode in (3, 4)
    first = done.stderr.splitlines()[0]
    assert first == f"2 host(s): n1, n2 ({project / 'inventory' / 'fleet.yml'})"


LATE = """
import os, signal, sys
from perfctl.__main__ import main
class Late:
    # Modules go away after Python has given every signal of its own handlers its default.
    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.{name}):
        kill(pid, number)
late = Late()
main(["--version"])
"""


@pytest.mark.parametrize("number", CODES)
def test_a_signal_that_comes_while_python_ends_changes_nothing(number: signal.Signals) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LATE.format(name=number.name)], capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"version" in done.stdout
