"""The files that a benchmark makes on a host: room for them is checked, and nothing of them stays."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from perfctl.errors import CommandFailed
from perfctl.execute import Reaping
from perfctl.execute.files import remove_files
from perfctl.execute.fleet import ConnectedHost
from perfctl.execute.invocation import InvocationContext, InvocationOutcome, measure
from perfctl.job import JobShell
from perfctl.model import Benchmark, Environment, Host, Parameter, Plan, Reason, Status
from perfctl.render.reap import reap_view
from perfctl.shell.local import LocalShell
from perfctl.workloads import WORKLOADS, Parameters, resolve_parameters
from perfctl.workloads.sysbench import Sysbench

NATIVE, CONTAINER = Environment("native", "native"), Environment("container", "container")


class Fileio(Sysbench):
    """fileio in the hands of a shell: it makes one file, and then the disk is full."""

    def setup_argvs(self, parameters: Parameters) -> Sequence[Sequence[str]]:
        made, _, flushed = super().setup_argvs(parameters)
        script = 'echo x >"$1/test_file.0"; echo "FATAL: Failed to write file!" >&2; exit 1'
        return (made, ["sh", "-c", script, "prepare", flushed[-1]], flushed)

    def cleanup_argvs(self, parameters: Parameters) -> Sequence[Sequence[str]]:
        _, removed = super().cleanup_argvs(parameters)
        return (["sh", "-c", 'rm -f "$1"/test_file.*', "cleanup", removed[-1]], removed)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ConnectedHost]:
    transport = LocalShell("h1")
    jobs = JobShell.start(transport, "run-files", lifetime_s=120, spool_root=str(tmp_path / "spool"))
    yield ConnectedHost(Host("h1", "127.0.0.1"), transport, jobs)
    jobs.stop()


def fileio(folder: Path, **given: Parameter) -> Benchmark:
    parameters = {"test": "fileio", "directory": str(folder), "file_total_bytes": 1 << 21, **given}
    return Benchmark("disk", "sysbench", resolve_parameters(Sysbench(), parameters), expected_s=0.1)


def measured(host: ConnectedHost, benchmark: Benchmark) -> InvocationOutcome:
    return measure(
        InvocationContext(
            run_id="run-files",
            invocation_id="invocation-1",
            environment=NATIVE,
            benchmark=benchmark,
            workload=Fileio(),
            client=host,
            server=None,
            host_view=False,
            stop=threading.Event(),
        )
    )


def plan_of(benchmark: Benchmark, *environments: Environment) -> Plan:
    return Plan("demo", "1", environments[0].name, environments, (benchmark,), ())


def test_a_setup_that_fails_leaves_nothing(host: ConnectedHost, tmp_path: Path) -> None:
    outcome = measured(host, fileio(tmp_path, file_num=1))
    assert (outcome.status, outcome.reason) == (Status.FAILED, Reason.SETUP_FAILED)
    assert "Failed to write file!" in outcome.detail
    assert not (tmp_path / "perfctl-fileio").exists()


def test_files_that_do_not_fit_are_not_begun(host: ConnectedHost, tmp_path: Path) -> None:
    outcome = measured(host, fileio(tmp_path / "not-there-yet", file_num=1, file_total_bytes=1 << 60))
    assert (outcome.status, outcome.reason) == (Status.FAILED, Reason.DISK_FULL)
    assert f"need 1,152,921,504,606,846,976 bytes in {tmp_path}, and " in outcome.detail
    assert "perfctl reap --all" in outcome.detail
    assert list(tmp_path.glob("*")) == [tmp_path / "spool"]


def test_what_a_killed_run_left_on_the_host_is_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(WORKLOADS, "sysbench", Fileio())
    shell, folder, benchmark = LocalShell("h1"), tmp_path / "perfctl-fileio", fileio(tmp_path, file_num=1)
    folder.mkdir()
    (folder / "test_file.0").touch()
    assert remove_files(shell, plan_of(benchmark, CONTAINER)) == []
    assert folder.exists(), "that of a container went with it: this one is somebody else's"
    assert remove_files(shell, plan_of(benchmark, NATIVE, CONTAINER)) == [str(folder)]
    assert not folder.exists()
    assert remove_files(shell, plan_of(benchmark, NATIVE)) == []


def test_what_is_not_ours_stays_and_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(WORKLOADS, "sysbench", Fileio())
    folder = tmp_path / "perfctl-fileio"
    folder.mkdir()
    (folder / "notes").touch()
    with pytest.raises(CommandFailed, match=r"perfctl-fileio cannot be removed: .*not empty"):
        remove_files(LocalShell("h1"), plan_of(fileio(tmp_path, file_num=1), NATIVE))
    assert (folder / "notes").exists()


def test_a_host_that_could_not_be_cleared_is_not_called_clear() -> None:
    assert reap_view(Reaping()).footer == ["nothing was left"]
    assert reap_view(Reaping(failures=[("h1", "it does not answer")])).footer == []
