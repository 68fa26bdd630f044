"""The main job, end to end on a real fleet: provisioned, measured natively and in containers, compared."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
from pathlib import Path

import pytest

from tests.e2e.conftest import Project, end, wait_until
from tests.lab import LabAtHand

pytestmark = pytest.mark.lab("both")

SUITE = """\
[suite]
name = "whole"
description = "Benchmarks on hosts and on pairs, two of them of a user's own."
baseline = "native"
environments = ["native", "container"]
blocks = 2

[[benchmark]]
name = "cpu"
workload = "sysbench"
parameters = { test = "cpu", threads = 1, time_s = 1 }

[[benchmark]]
name = "rr"
workload = "netperf"
parameters = { test = "TCP_RR", time_s = 1 }

[[benchmark]]
name = "stream"
workload = "netperf"
parameters = { test = "TCP_STREAM", time_s = 1 }

[[benchmark]]
name = "own"
workload = "own"
targets = 1
parameters = { rounds = 20_000, words = "a b; exit 9" }

[[benchmark]]
name = "own-pair"
workload = "own-pair"

[workloads.own]
command = ["sh", "{folder}/work.sh", "{rounds}", "{words}"]
files = ["work.sh"]
setup = [["touch", "{folder}/prepared"]]
expected_s = 1
version = ["sh", "-c", "echo one"]
parameters = { rounds = 1, words = "" }

[workloads.own.metrics]
took = { unit = "s", better = "lower", headline = true, time = "wall" }
user = { unit = "s", better = "lower", time = "user" }
[workloads.own.metrics.rounds]
unit = "rounds"
better = "neutral"
regex = '^did (?P<value>\\d+) (?P<unit>rounds) of a b; exit 9$'

[workloads.own-pair]
command = [
  "netperf", "-H", "{server_address}", "-p", "{port}", "-t", "omni", "-l", "1",
  "--", "-P", ",{port_of_data}", "-k", "THROUGHPUT",
]
programs = ["netperf", "netserver"]
version = ["netperf", "-V"]
server = { command = ["netserver", "-D", "-p", "{port}"], tcp_port = "{port}" }
expected_s = 1
uses = ["network", "cpu"]
separator = "="
parameters = { port = 7001, port_of_data = 7002 }
metrics.throughput = { unit = "Mbit/s", better = "higher", key = "THROUGHPUT" }
"""
SCRIPT = """\
test -f "${0%/*}/prepared" || exit 8
i=0
while [ "$i" -lt "$1" ]; do i=$((i + 1)); done
echo "did $i rounds of $2"
"""
INVOCATIONS = {"cpu": 2 * 2 * 3, "rr": 2 * 3, "stream": 2 * 3, "own": 2 * 3, "own-pair": 2 * 3}
"""Blocks x hosts (or the one pair) x legs: the baseline twice and the container."""


@pytest.fixture(scope="module")
def measured(provisioned_lab: LabAtHand, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with one complete run of the suite on the lab."""
    busy_too = dict(os.environ, PERFCTL_FORCE="1")
    project = Project(tmp_path_factory.mktemp("whole"), provisioned_lab.inventory, busy_too)
    Path(project.suite).write_text(SUITE)
    (project.folder / "work.sh").write_text(SCRIPT)
    done = project.perfctl("run", "--suite", project.suite, "--seed", "7", timeout_s=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == project.rows("SELECT run_id FROM v_run")[0]["run_id"]
    return project


def test_every_invocation_is_there_and_ok(measured: Project) -> None:
    rows = measured.rows("SELECT benchmark, count(*) AS n FROM v_invocation WHERE status = 'ok' GROUP BY 1")
    assert {row["benchmark"]: row["n"] for row in rows} == INVOCATIONS


def test_each_block_ran_the_baseline_twice_and_the_container_once(measured: Project) -> None:
    rows = measured.rows(
        "SELECT benchmark, host, block, group_concat(environment || replicate) AS legs "
        "FROM (SELECT * FROM v_invocation ORDER BY environment DESC, replicate) GROUP BY 1, 2, 3"
    )
    assert len(rows) == 2 * 2 + 2 + 2 + 2 + 2
    assert {row["legs"] for row in rows} == {"native1,native2,container1"}


def test_every_invocation_has_a_fingerprint_raw_output_and_monotonic_times(measured: Project) -> None:
    rows = measured.rows("SELECT benchmark, fingerprint_id, stdout_sha256, duration_s FROM v_invocation")
    assert all(row["fingerprint_id"] and row["stdout_sha256"] for row in rows)
    assert all(row["duration_s"] > (0 if row["benchmark"] == "own" else 0.9) for row in rows)


def test_every_metric_of_every_invocation_has_its_value(measured: Project) -> None:
    rows = measured.rows(
        "SELECT benchmark, count(DISTINCT metric) AS metrics, count(*) AS n FROM v_value GROUP BY benchmark"
    )
    for row in rows:
        assert row["metrics"] >= (1 if row["benchmark"] == "own-pair" else 3)
        assert row["n"] == row["metrics"] * INVOCATIONS[row["benchmark"]]


def test_what_commands_used_is_measured_alike_in_both_environments(measured: Project) -> None:
    assert measured.rows("SELECT DISTINCT usage_source, usage_missing FROM v_invocation") == [
        {"usage_source": "wait4", "usage_missing": None}
    ]
    rows = measured.rows(
        "SELECT environment, min(user_s + system_s) AS cpu_s, max(user_s + system_s) AS most_s,"
        " min(minor_faults) AS faults, max(minor_faults) AS most, max(max_rss_bytes) >> 20 AS mib"
        " FROM v_invocation WHERE benchmark = 'cpu' GROUP BY environment ORDER BY environment DESC"
    )
    native, container = rows
    # A second of one thread, and the client's own 10 MiB and thousands of faults are in neither.
    for row in rows:
        assert 0.05 < row["cpu_s"] <= row["most_s"] < 1.3 and row["mib"] < 20
    assert container["most"] < 1.2 * native["faults"] and native["most"] < 1.2 * container["faults"]
    done = measured.perfctl("compare", "latest", "--metric", "minor_faults", "--format", "json")
    lines = [row for row in json.loads(done.stdout)["rows"] if row["level"] == "host"]
    assert {row["metric"] for row in lines} == {"minor_faults"} and len(lines) == (2 + 4 * 1) * 2


def test_both_legs_ran_the_same_bits(measured: Project) -> None:
    listing = json.loads(measured.perfctl("compare", "latest", "--format", "json").stdout)
    assert {row["confounded"] for row in listing["rows"]} <= {"", None}
    assert measured.perfctl("compare", "latest", "--format", "json").stdout == (
        measured.perfctl("compare", "latest", "--format", "json").stdout
    )


def test_the_comparison_says_ratio_values_and_the_a_a_line(measured: Project) -> None:
    done = measured.perfctl("compare", "latest")
    assert done.returncode == 0, done.stderr
    for words in ("cpu  ", "rr  ", "stream  ", "container", "inconclusive", "transactions/s"):
        assert words in done.stdout
    assert "(A/A)" not in done.stdout
    assert "(A/A)" in measured.perfctl("compare", "latest", "--aa").stdout
    lines = [line for line in done.stdout.splitlines() if str(measured.database) not in line]
    assert max(map(len, lines)) <= 120
    rows = list(csv.DictReader(io.StringIO(measured.perfctl("compare", "latest", "--format", "csv").stdout)))
    # Two hosts for one benchmark, a host or a pair for four, each with the container and the A/A line.
    assert len([row for row in rows if row["level"] == "host"]) == (2 + 4 * 1) * 2
    assert {row["verdict"] for row in rows if row["is_aa"] == "false"} == {"inconclusive"}
    assert "\n| target | environment |" in measured.perfctl("compare", "latest", "--format", "md").stdout


def test_containers_talked_to_containers_over_the_bridge(measured: Project) -> None:
    servers: dict[str, set[str]] = {"native": set(), "container": set()}
    for row in measured.rows("SELECT environment, argv_json FROM v_invocation WHERE benchmark = 'rr'"):
        argv: list[str] = json.loads(row["argv_json"])
        servers[row["environment"]].add(argv[argv.index("-H") + 1])
    assert servers["native"]
    assert servers["container"]
    assert servers["native"].isdisjoint(servers["container"]), "a container's server is in a container"


def test_a_program_of_ones_own_is_measured_where_it_runs(measured: Project) -> None:
    rows = measured.rows(
        "SELECT environment, metric, min(value) AS least, max(value) AS most FROM v_value"
        " WHERE benchmark = 'own' GROUP BY 1, 2 ORDER BY 2, 1"
    )
    assert {row["metric"] for row in rows} == {"took", "user", "rounds"}
    of_rounds = [row for row in rows if row["metric"] == "rounds"]
    assert all(row["least"] == row["most"] == 20_000 for row in of_rounds)
    # What the engine takes to reach the container is in neither.
    container, native = (row for row in rows if row["metric"] == "took")
    assert native["least"] > 0 and container["least"] < native["most"] + 0.03
    again = measured.perfctl("db", "reparse")
    assert again.returncode == 0 and " 0 say something else now" in again.stderr, again.stderr
    shown = measured.perfctl("why", "latest", "rounds", "--benchmark", "own")
    assert "did 20000 rounds of a b; exit 9" in shown.stdout, shown.stderr


def test_nothing_is_left_on_the_hosts(measured: Project, provisioned_lab: LabAtHand) -> None:
    (run,) = measured.rows("SELECT run_id FROM v_run")
    for host in provisioned_lab.hosts:
        assert provisioned_lab.inside(host, "docker", "ps", "-aq") == ""
        units = provisioned_lab.inside(host, "systemctl", "list-units", "--plain", "--no-legend")
        assert f"perfctl-{run['run_id']}" not in units
        assert "netserver -D" not in provisioned_lab.inside(host, "ps", "-eo", "args")


def test_the_same_seed_gives_the_same_order(measured: Project) -> None:
    rows = measured.rows(
        "SELECT host, block, environment, replicate FROM v_invocation WHERE benchmark = 'cpu' "
        "ORDER BY host, block, position"
    )
    call = ("run", "--suite", measured.suite, "--seed", "7", "--dry-run", "--format", "json")
    plan = measured.perfctl(*call).stdout
    for host in {row["host"] for row in rows}:
        for block in (0, 1):
            order = [row for row in rows if row["host"] == host and row["block"] == block]
            words = " ".join(
                f"native({row['replicate']})" if row["environment"] == "native" else "container"
                for row in order
            )
            assert words in plan


def test_ctrl_c_leaves_no_container_and_no_job(measured: Project, provisioned_lab: LabAtHand) -> None:
    first = provisioned_lab.hosts[0]
    argv = ("run", "--suite", measured.suite, "--env", "container", "--param", "time_s=5", "--blocks", "2")
    process = measured.start(*argv)
    wait_until(
        lambda: (
            "sysbench" in provisioned_lab.inside(first, "sh", "-c", "docker top $(docker ps -q) 2>&1 || true")
        ),
        "a benchmark in a container",
    )
    code, _, stderr = end(process, signal.SIGINT)
    assert code == 130, stderr
    assert "perfctl resume" in stderr
    for host in provisioned_lab.hosts:
        assert provisioned_lab.inside(host, "docker", "ps", "-aq") == ""
        assert "sysbench" not in provisioned_lab.inside(host, "ps", "-eo", "args")
