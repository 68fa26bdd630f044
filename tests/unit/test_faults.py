"""The fault campaign finds what it counts: in made-up databases, among processes and in files."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from perfctl.model import Benchmark, Block, Round, Target, Track
from perfctl.store import Store, open_store
from perfctl.workloads import resolve_parameters, workload
from tests.faults import counting, leftovers
from tests.faults.attacks import ATTACKS
from tests.faults.canaries import Canaries, ProcessWatch
from tests.faults.case import FAULTS, Outcome
from tests.faults.counting import Leg
from tests.faults.scene import Command
from tests.faults.table import table
from tests.processes import wait_until
from tests.unit import store_cases as cases

DATA = Path(__file__).parents[1] / "data"
REPORTS = {
    "sysbench": (DATA / "sysbench" / "cpu" / "stdout").read_bytes(),
    "netperf": (DATA / "netperf" / "tcp-rr" / "stdout").read_bytes(),
}
CPU = Benchmark(
    "cpu", "sysbench", resolve_parameters(workload("sysbench"), {"test": "cpu", "threads": 2}), expected_s=1
)
RR = Benchmark(
    "rr", "netperf", resolve_parameters(workload("netperf"), {"test": "TCP_RR"}), expected_s=1, scope="pair"
)
BENCHMARKS = {"cpu": CPU, "rr": RR}
BLOCKS = (
    Block("cpu", Target("h1"), 0, cases.ORDER),
    Block("cpu", Target("h2"), 0, cases.ORDER),
    Block("rr", Target("h2", "h1"), 0, cases.ORDER),
)
PLAN = replace(cases.PLAN, benchmarks=(CPU, RR), rounds=(Round((Track(BLOCKS),)),))
PLANNED = {
    Leg(benchmark, target, 0, environment, replicate)
    for benchmark, target in (("cpu", "h1"), ("cpu", "h2"), ("rr", "h1->h2"))
    for environment, replicate in (("native", 1), ("native", 2), ("container", 1))
}
SECOND_NS = 10**9


def measure(store: Store, run_id: str, block: Block, start_s: int, attempt: int = 1) -> None:
    """Store a complete block of invocations of one second each, two seconds apart."""
    benchmark = BENCHMARKS[block.benchmark]
    program = workload(benchmark.workload)
    report = REPORTS[benchmark.workload]
    block_id = store.writer.begin_block(run_id, block, attempt=attempt)
    for planned in block.invocations:
        started_ns = (start_s + 2 * planned.position) * SECOND_NS
        done = cases.record(
            block_id,
            planned.environment,
            planned.replicate,
            position=planned.position,
            host_started_ns=started_ns,
            host_ended_ns=started_ns + SECOND_NS,
            stdout=report,
        )
        samples = program.parse(report.decode(), benchmark.parameters)
        store.writer.record_invocation(done, program.metrics(benchmark.parameters), samples)
    store.writer.end_block(block_id, "complete")


def write_database(path: Path, blocks: Sequence[Block] = BLOCKS, start_s: int = 100) -> None:
    """Store a run with these blocks, one after another."""
    with open_store(path, create=True) as store:
        run_id = cases.begin_run(store, PLAN)
        for place, block in enumerate(blocks):
            measure(store, run_id, block, start_s + 10 * place)
        store.writer.end_run(run_id, "complete")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Return a database in which nothing is wrong."""
    write_database(tmp_path / "results.db")
    return tmp_path / "results.db"


def harm(database: Path, *statements: str) -> None:
    """Change a database behind its back."""
    with closing(sqlite3.connect(database)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


# ---- databases ---------------------------------------------------------------------------------------------


def test_in_a_whole_database_nothing_is_found(database: Path) -> None:
    assert counting.missing_legs(database, PLANNED) == []
    assert counting.doubled_legs(database) == []
    assert counting.unequal_samples(database) == ([], [])
    assert counting.overlaps([database]) == []
    assert counting.run_statuses(database) == ["complete"]


def test_where_there_is_no_database_all_is_lost(tmp_path: Path) -> None:
    assert len(counting.missing_legs(tmp_path / "none.db", PLANNED)) == len(PLANNED)
    assert counting.run_statuses(tmp_path / "none.db") == []


def test_where_a_database_has_no_tables_yet_all_is_lost(tmp_path: Path, canaries: Canaries) -> None:
    database = tmp_path / "begun.db"
    database.touch()
    assert len(counting.missing_legs(database, PLANNED)) == len(PLANNED)
    assert counting.run_statuses(database) == counting.doubled_legs(database) == []
    assert counting.overlaps([database]) == canaries.in_artifacts(database) == []


def test_a_lost_invocation_is_named(database: Path) -> None:
    harm(
        database,
        "DELETE FROM invocation WHERE position = 0 "
        "AND block_id = (SELECT block_id FROM block WHERE benchmark = 'rr')",
    )
    (found,) = counting.missing_legs(database, PLANNED)
    assert found.startswith("rr h1->h2 block 0 container(1) ")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE block SET status = 'failed' WHERE target = 'h1'",
        "UPDATE invocation SET status = 'failed', reason = 'timeout' "
        "WHERE block_id = (SELECT block_id FROM block WHERE target = 'h1')",
    ],
)
def test_what_did_not_end_well_is_lost(database: Path, statement: str) -> None:
    harm(database, statement)
    found = counting.missing_legs(database, PLANNED)
    assert len(found) == 3
    assert all(sentence.startswith("cpu h1 ") for sentence in found)


def test_a_complete_block_that_was_measured_again_is_doubled(database: Path) -> None:
    with open_store(database) as store:
        measure(store, store.runs()[0].run_id, BLOCKS[0], start_s=900, attempt=2)
    assert counting.doubled_legs(database) == ["cpu h1 block 0 is there 2 times"]
    assert counting.missing_legs(database, PLANNED) == []


def test_a_job_that_was_stored_as_two_invocations_is_doubled(database: Path) -> None:
    harm(
        database,
        "UPDATE invocation SET (host_started_ns, host_ended_ns) = (SELECT host_started_ns, host_ended_ns "
        "FROM invocation AS other WHERE other.block_id = invocation.block_id AND other.position = 0) "
        "WHERE position = 1 AND block_id = (SELECT block_id FROM block WHERE target = 'h2')",
    )
    (found,) = counting.doubled_legs(database)
    assert found.startswith("the job that began on h2 at ")
    assert len(counting.overlaps([database])) == 1


@pytest.mark.parametrize("metric", ["latency_p99", "transactions_per_second"])
@pytest.mark.parametrize("change", ["DELETE FROM sample", "UPDATE sample SET value = value + 1"])
def test_a_printed_number_that_is_no_sample_is_lost(database: Path, metric: str, change: str) -> None:
    which = f"metric_pk = (SELECT metric_pk FROM metric WHERE name = '{metric}' AND workload = 'netperf')"
    harm(database, f"{change} WHERE {which}")
    lost, doubled = counting.unequal_samples(database)
    assert len(lost) == 3
    assert all(f"it printed {metric} " in sentence for sentence in lost)
    assert doubled == []


def test_a_number_that_is_two_samples_is_doubled(database: Path) -> None:
    harm(
        database,
        "INSERT INTO sample SELECT invocation_pk, metric_pk, 1, is_warmup, value FROM sample "
        "WHERE metric_pk = (SELECT metric_pk FROM metric WHERE name = 'events_per_second') LIMIT 1",
    )
    lost, doubled = counting.unequal_samples(database)
    assert lost == []
    assert len(doubled) == 1


def test_a_raw_output_that_is_not_stored_is_lost(database: Path) -> None:
    harm(database, "UPDATE invocation SET stdout_sha256 = NULL WHERE invocation_pk = 1")
    (found,) = counting.unequal_samples(database)[0]
    assert "its raw output is not stored" in found


@pytest.mark.parametrize("program", sorted(REPORTS))
def test_every_number_of_a_report_is_read_as_the_workload_reads_it(program: str) -> None:
    report = REPORTS[program].decode()
    benchmark = next(item for item in BENCHMARKS.values() if item.workload == program)
    parsed = {sample.metric: sample.value for sample in workload(program).parse(report, benchmark.parameters)}
    found = counting.printed(program, report)
    assert len(found) >= 7
    assert found == {name: parsed[name] for name in found}


def test_two_controllers_on_one_host_are_found_also_when_it_is_the_server(
    database: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.db"
    # On h1, while the first run measures there as the server of h2.
    write_database(other, [BLOCKS[0]], start_s=120)
    found = counting.overlaps([database, other])
    assert len(found) == 3
    assert all("were measured on h1 at the same time" in sentence for sentence in found)


def test_what_follows_at_once_is_no_overlap(database: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    write_database(other, [BLOCKS[0]], start_s=121)
    assert counting.overlaps([database, other, tmp_path / "none.db"]) == []


def test_a_figure_that_is_not_zero_is_in_the_table() -> None:
    clean, harmed = Outcome("kill", 1, 1.0, 18), Outcome("kill", 2, 2.0, 18)
    harmed.findings["doubled"].append("a block is there 2 times")
    assert clean.is_clean
    assert not harmed.is_clean
    row = table([clean, harmed]).splitlines()[2].split(" | ")
    assert row[0] == "| kill"
    assert [int(cell.strip(" |")) for cell in row[2:]] == [
        2,
        36,
        *(int(name == "doubled") for name in FAULTS),
    ]


def test_kinds_have_names_of_their_own() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)


# ---- secrets -----------------------------------------------------------------------------------------------


@pytest.fixture
def canaries(tmp_path: Path) -> Canaries:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "hosts.yml").write_text("canary-0123456789")
    return Canaries(tmp_path / "secrets", {"fleet_password": "canary-0123456789"})


def test_a_secret_is_found_in_files_but_not_where_it_belongs(canaries: Canaries, tmp_path: Path) -> None:
    assert canaries.in_files(tmp_path) == []
    (tmp_path / "commands").mkdir()
    log = tmp_path / "commands" / "stderr"
    log.write_bytes(b"\0wrong password canary-0123456789\n")
    assert canaries.in_files(tmp_path) == [f"the secret fleet_password is in {log}"]


def test_a_secret_is_found_in_a_compressed_output(canaries: Canaries, database: Path) -> None:
    assert canaries.in_artifacts(database) == []
    with open_store(database) as store:
        block_id = store.writer.begin_block(store.runs()[0].run_id, BLOCKS[0], attempt=2)
        store.writer.record_invocation(cases.record(block_id, stderr=b"canary-0123456789"), (), ())
    (found,) = canaries.in_artifacts(database)
    assert found.startswith("the secret fleet_password is in artifact ")


def test_a_secret_among_the_arguments_of_any_process_is_seen(canaries: Canaries) -> None:
    watch = ProcessWatch(canaries)
    watch.look()
    assert watch.found == set()
    argv = [sys.executable, "-c", "input()", canaries.values["fleet_password"]]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as process, watch.watching():
        wait_until(lambda: watch.found, "the secret to be seen")
        process.kill()
    assert watch.found == {f"the secret fleet_password is in the cmdline of a process: {sys.executable}"}


@pytest.mark.parametrize(("namespace", "found"), [("pid:[1]", 1), ("", 0)], ids=["a host's", "our own"])
def test_a_secret_in_the_environment_of_a_hosts_process_is_seen(
    canaries: Canaries, tmp_path: Path, namespace: str, found: int
) -> None:
    process = tmp_path / "proc" / "17"
    (process / "ns").mkdir(parents=True)
    (process / "ns" / "pid").symlink_to(namespace or Path("/proc/self/ns/pid").readlink())
    (process / "cmdline").write_bytes(b"sysbench\0run\0")
    (process / "environ").write_bytes(b"PATH=/bin\0TOKEN=canary-0123456789\0")
    watch = ProcessWatch(canaries)
    watch.look([process])
    assert len(watch.found) == found


# ---- what is left, and what messages say -------------------------------------------------------------------


@pytest.fixture
def marked() -> Iterator[str]:
    """Yield the marker of a process that waits."""
    marker = os.urandom(16).hex()
    argv = [sys.executable, "-c", "input()", "stray"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, env={"PERFCTL_FAULT_CASE": marker}) as process:
        wait_until(lambda: leftovers.marked_processes(marker), "the process")
        yield marker
        process.kill()


def test_a_stray_process_and_a_temporary_file_are_left_over(marked: str, tmp_path: Path) -> None:
    before = leftovers.here("no such marker", tmp_path)
    (tmp_path / "ansible-1").touch()
    left = leftovers.left_over(lambda: leftovers.here(marked, tmp_path), before, settle_s=0)
    assert leftovers.has_process(marked, "stray")
    assert not leftovers.has_process(marked, "ansible-playbook")
    assert left == [
        f"here: file {tmp_path / 'ansible-1'}",
        f"here: process {sys.executable} -c input() stray",
    ]


def test_what_goes_away_by_itself_is_not_left_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "_AGAIN_S", 0)
    looks = iter([{"old", "unit"}, {"old", "unit"}, {"old"}])
    assert leftovers.left_over(lambda: next(looks), {"old"}) == []


RUN_ID = "0192f3a4-0000-7000-8000-0123456789ab"


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        (
            f"error: 1 invocations failed\nhint: why: perfctl show {RUN_ID}; run the rest again: "
            f"perfctl resume {RUN_ID} -i 'a b/hosts.yml' --db x.db\n",
            ["resume", RUN_ID, "-i", "a b/hosts.yml", "--db", "x.db"],
        ),
        (f"go on: perfctl resume {RUN_ID}\n", ["resume", RUN_ID]),
        ("hint: then: perfctl resume\n", None),
    ],
)
def test_the_printed_resume_is_taken_with_its_options(
    tmp_path: Path, text: str, arguments: list[str] | None
) -> None:
    (tmp_path / "stderr").write_text(text)
    with subprocess.Popen(["true"]) as process:
        command = Command(["perfctl", "run"], process, tmp_path)
    assert command.advised_resume() == arguments
