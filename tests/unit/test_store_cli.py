"""The commands that look into the database: runs, show, query, db; through the real way in."""

from __future__ import annotations

import csv
import json
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfctl.__main__ import main
from perfctl.model import Reason, ResourceUsage, Status
from perfctl.store import open_store
from perfctl.validity.assessment import assess
from perfctl.validity.context import Expected, JudgementContext
from perfctl.validity.counters import InvocationCounters
from tests.unit import store_cases as cases

CONSOLE = b"[    0.0] Linux\r\nperfctl: kernel\n\x1b[31m\xff\x00end"

STEAL = "==> /proc/stat <==\ncpu {0} 0 0 {0} 0 0 0 {1} 0 0\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


@pytest.fixture
def run_id(path) -> str:
    """A partial run: one complete block, one with a failure, and a warning."""
    with open_store(path, create=True) as store:
        run_id = cases.begin_run(store)
        values = {("native", 1): 100.0, ("native", 2): 101.0, ("container", 1): 90.0}
        cases.measure_block(store, run_id, cases.block(), values)
        block_id = store.writer.begin_block(run_id, cases.block(index=1), 1)
        failed = cases.record(
            block_id,
            "container",
            id="c0ffee000000c0ffee000000c0ffee00",
            status=Status.FAILED,
            reason=Reason.TIMEOUT,
            detail="no end in 60 s",
            exit_code=None,
            stdout=b"",
            accelerator="tcg",
            artifacts={"console": CONSOLE, "host_view": b""},
        )
        store.writer.record_invocation(failed, cases.METRICS, [])
        store.writer.end_block(block_id, "failed")
        store.writer.record_event(run_id, "warning", "h1", "the load is high")
        store.writer.end_run(run_id, "partial")
    return run_id


@pytest.fixture
def perfctl(path, capsys):
    """Return a function that runs a command and gives (exit code, stdout, stderr)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["--db", str(path), *arguments])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def rows_of(text: str) -> list[dict[str, Any]]:
    document = json.loads(text)
    assert document["schema_version"] == 1
    rows: list[dict[str, Any]] = document["rows"]
    return rows


def test_runs_lists_them(perfctl, run_id):
    code, out, err = perfctl("runs", "--format", "json")
    (row,) = rows_of(out)
    assert (code, err) == (0, "")
    assert (row["run_id"], row["status"], row["ok"], row["failed"], row["planned"]) == (
        run_id,
        "partial",
        3,
        1,
        12,
    )
    assert row["hosts"] == ["h1", "h2"]
    code, out, _ = perfctl("runs")
    assert code == 0
    assert [word in out for word in (run_id, "demo", "partial", "h1, h2")] == [True] * 4


def test_show_tells_plan_hosts_failures_and_events(perfctl, run_id):
    code, out, _ = perfctl("show", "latest")
    assert code == 0
    wanted = (
        "sysbench test=cpu threads=1",
        "native, container",
        "timeout",
        "no end in 60 s",
        "the load is high",
    )
    assert [word for word in wanted if word not in out] == []
    assert f"perfctl resume {run_id}" in out


def test_show_as_json_has_everything_and_as_csv_one_line(perfctl, run_id):
    (row,) = rows_of(perfctl("show", run_id, "--format", "json")[1])
    assert row["command"] == ["perfctl", "run", "--suite", "demo"]
    assert [item["name"] for item in row["environments"]] == ["native", "container"]
    assert row["counts"] == [
        {"status": "ok", "reason": None, "invocations": 3},
        {"status": "failed", "reason": "timeout", "invocations": 1},
    ]
    assert (row["failures"][0]["target"], row["failures"][0]["detail"]) == ("h1", "no end in 60 s")
    lines = list(csv.DictReader(perfctl("show", run_id, "--format", "csv")[1].splitlines()))
    assert [line["run_id"] for line in lines] == [run_id]


def test_a_failed_invocations_line_names_it_and_what_is_kept(perfctl, run_id):
    out = perfctl("show", "latest")[1]
    (line,) = [line for line in out.splitlines() if "no end in 60 s" in line]
    assert line.split("  ")[-2:] == ["c0ffee000000", "console, host_view"]
    assert f"perfctl show {run_id} --invocation ID --artifact NAME" in out
    (row,) = rows_of(perfctl("show", run_id, "--format", "json")[1])
    assert row["failures"][0]["invocation_id"] == "c0ffee000000c0ffee000000c0ffee00"
    assert row["failures"][0]["kept"] == ["console", "host_view", "counters_after", "counters_before"]


def test_show_counts_what_was_not_judged(perfctl, run_id):
    out = perfctl("show", "latest")[1]
    assert [line.split() for line in out.splitlines() if line.startswith("native   ")] == [
        ["native", "0", "0", "0", "2", "—"]
    ]
    (row,) = rows_of(perfctl("show", run_id, "--format", "json")[1])
    assert [(item["environment"], item["not_judged"]) for item in row["validity"]] == [
        ("native", 2),
        ("container", 1),
    ]


def test_show_tells_what_was_found_and_what_was_not_judged(perfctl, path):
    before, after = (STEAL.format(*ticks).encode() for ticks in ((0, 0), (250, 500)))
    counters = InvocationCounters.parse(before, after, started_ns=0, ended_ns=10**10)
    judged = assess(counters, JudgementContext(Expected()), {})
    with open_store(path, create=True) as store:
        run_id = cases.begin_run(store)
        block_id = store.writer.begin_block(run_id, cases.block(), 1)
        record = cases.record(
            block_id, validity=judged.validity.verdict.value, validity_json=judged.to_json()
        )
        store.writer.record_invocation(record, cases.METRICS, cases.samples(1.0))
    out = perfctl("show", run_id)[1]
    assert ["native", "0", "0", "1", "0", "steal", "(1)"] in [line.split() for line in out.splitlines()]
    assert "v_finding" in out
    out = perfctl("show", run_id, "--invocation", record.id)[1]
    assert "the hypervisor gave 50 % of all CPU time to others" in out
    assert "not judged: swap: its counters were not read" in out
    (row,) = rows_of(perfctl("show", run_id, "--invocation", record.id, "--format", "json")[1])
    assert row["validity"] == "invalid"
    assert [(item["rule"], item["severity"]) for item in row["findings"]] == [("steal", "invalid")]
    assert "swap" in {item["rule"] for item in row["not_judged"]}


def test_show_of_an_invocation_tells_all_of_it(perfctl, run_id):
    code, out, _ = perfctl("show", "latest", "--invocation", "c0ffee000000")
    assert code == 0
    told = {line.split("  ")[0]: line.split("  ")[-1].strip() for line in out.splitlines() if line}
    wanted = {
        "accelerator": "tcg",
        "block": "1, attempt 1, replicate 1",
        "status": "failed (timeout)",
        "detail": "no end in 60 s",
        "exit code": "—",
        "took": "2.5 s",
        "command": "sysbench cpu run",
        "host_view": "—",
    }
    assert {name: told[name] for name in wanted} == wanted
    assert "--artifact NAME" in out
    (row,) = rows_of(perfctl("show", run_id, "--invocation", "c0ffee", "--format", "json")[1])
    assert (row["run_id"], row["environment"], row["reason"]) == (run_id, "container", "timeout")
    assert row["argv"] == ["sysbench", "cpu", "run"]
    sizes = {item["name"]: item["size_bytes"] for item in row["artifacts"]}
    assert sizes == {"console": len(CONSOLE), "host_view": 0, "counters_after": 11, "counters_before": 11}
    (line,) = csv.DictReader(
        perfctl("show", run_id, "--invocation", "c0ffee", "--format", "csv")[1].splitlines()
    )
    assert (line["invocation_id"][:6], line["exit_code"]) == ("c0ffee", "")


def test_show_of_an_invocation_tells_what_its_command_used_and_what_is_not_known(perfctl, run_id, path):
    unknown = ResourceUsage.unknown("only the group's time is known")
    usages = {
        "whole": ResourceUsage(1.0005, 0.25, 8 << 20, 1700, 0, 9, 2),
        "group": replace(unknown, user_s=2.5, system_s=0.0, source="cgroup"),
        "nothing": ResourceUsage.unknown("there is no launcher"),
        "old": None,
    }
    with open_store(path) as store:
        block_id = store.writer.begin_block(run_id, cases.block(index=2), 1)
        for number, (name, usage) in enumerate(usages.items()):
            done = cases.record(block_id, replicate=number + 1, id=name, usage=usage)
            store.writer.record_invocation(done, cases.METRICS, cases.samples(1.0))
    shown = {name: perfctl("show", run_id, "--invocation", name)[1] for name in usages}
    told = {line.split("  ")[0]: line.split("  ") for line in shown["whole"].splitlines()}
    assert "1.000 s" in [word.strip() for word in told["user_s"]]
    assert "8,388,608 bytes" in [word.strip() for word in told["max_rss_bytes"]]
    assert "not known" not in shown["whole"]
    assert "2.500 s" in shown["group"] and "0 s" in shown["group"] and "minor_faults" not in shown["group"]
    assert "not comparable" in shown["group"] and "only the group's time is known" in shown["group"]
    assert "user_s" not in shown["nothing"] and "there is no launcher" in shown["nothing"]
    assert "it was not recorded" in shown["old"]
    (row,) = rows_of(perfctl("show", run_id, "--invocation", "group", "--format", "json")[1])
    assert (row["user_s"], row["system_s"], row["max_rss_bytes"]) == (2.5, 0.0, None)
    assert (row["usage_source"], row["usage_missing"]) == ("cgroup", "only the group's time is known")


@pytest.mark.parametrize(
    ("name", "content"), [("console", CONSOLE), ("host_view", b""), ("counters_after", b"cpu  2 3 4\n")]
)
def test_an_artifact_comes_out_byte_for_byte(path, run_id, name, content):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "perfctl",
            "--db",
            str(path),
            "show",
            run_id,
            "--invocation=c0ffee",
            f"--artifact={name}",
        ],
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, content, b"")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--artifact", "console"], "needs --invocation"),
        (["--invocation", "c0ffee", "--artifact", "video"], "it has: console, host_view, counters_after"),
        (["--invocation", "nothing"], "no invocation 'nothing'"),
        (["--invocation", ""], "no invocation ''"),
    ],
)
def test_what_was_not_kept_is_a_usage_error(perfctl, run_id, arguments, words):
    code, out, err = perfctl("show", "latest", *arguments)
    assert (code, out) == (2, "")
    assert words in err


def test_show_of_an_unknown_run_says_where_to_look(perfctl, run_id):
    code, out, err = perfctl("show", "nothing")
    assert (code, out) == (2, "")
    assert "there is no run 'nothing'" in err
    assert "perfctl runs" in err


def test_query_prints_what_it_finds(perfctl, run_id):
    sql = "SELECT environment, count(*) AS n, value FROM v_value GROUP BY 1 ORDER BY 1"
    assert rows_of(perfctl("query", sql, "--format", "json")[1]) == [
        {"environment": "container", "n": 1, "value": 90.0},
        {"environment": "native", "n": 2, "value": 100.0},
    ]
    assert (
        perfctl("query", sql, "--format", "csv")[1]
        == "environment,n,value\ncontainer,1,90.0\nnative,2,100.0\n"
    )


def test_query_keeps_columns_of_one_name_apart_and_shows_bytes_as_hex(perfctl, run_id):
    out = perfctl("query", "SELECT 1 AS x, 2 AS x, x'0aff' AS y, NULL AS x", "--format", "json")[1]
    assert rows_of(out) == [{"x": 1, "x_2": 2, "y": "0aff", "x_3": None}]


def test_query_by_name_and_the_list_of_names(perfctl, run_id):
    listed = [row["name"] for row in rows_of(perfctl("query", "--list", "--format", "json")[1])]
    assert "overhead" in listed
    (row,) = rows_of(perfctl("query", "--named", "overhead", "--format", "json")[1])
    assert (row["environment"], row["ratio"]) == ("container", 0.9)


def test_named_overhead_shows_headlines_unless_all_metrics_are_asked_for(perfctl, path):
    with open_store(path, create=True) as store:
        run_id = cases.begin_run(store)
        block_id = store.writer.begin_block(run_id, cases.block(), 1)
        for name, speed in (("native", 100.0), ("container", 90.0)):
            values = cases.samples(speed) + cases.samples(1000 / speed, metric=cases.LATENCY)
            store.writer.record_invocation(cases.record(block_id, name), cases.METRICS, values)
        store.writer.end_block(block_id, "complete")

    def metrics(*options: str) -> list[str]:
        return [row["metric"] for row in rows_of(perfctl("query", *options, "--format", "json")[1])]

    assert metrics("--named", "overhead") == ["events_per_s"]
    assert metrics("--named", "overhead", "--all-metrics") == ["events_per_s", "latency"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["query"], 2, "--list"),
        (["query", "SELECT 1", "--list"], 2, "one of"),
        (["query", "--named", "nothing"], 2, "no query 'nothing'"),
        (["query", "--named", "drift", "--all-metrics"], 2, "--named overhead"),
        (["query", "SELECT 1", "--all-metrics"], 2, "--named overhead"),
        (["query", "SELECT :mine"], 8, "binding"),
        (["query", "DELETE FROM run"], 8, "may only read"),
        (["query", "SELECT nope FROM v_run"], 8, "no such column: nope"),
        (["db", "backup", "/nowhere/at/all.db"], 8, "does not exist"),
    ],
)
def test_a_wrong_call_has_its_exit_code_and_nothing_on_stdout(perfctl, run_id, arguments, code, words):
    got, out, err = perfctl(*arguments)
    assert (got, out) == (code, "")
    assert words in err


@pytest.mark.parametrize("command", [["runs"], ["show", "latest"], ["query", "SELECT 1"], ["db", "info"]])
def test_without_a_database_every_command_says_so_and_makes_none(perfctl, path, command):
    code, out, err = perfctl(*command)
    assert (code, out) == (8, "")
    assert "no database yet" in err
    assert str(path) in err
    assert not path.exists()


def test_a_newer_database_is_exit_8_but_info_still_works(perfctl, path, run_id):
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    for command in (["runs"], ["db", "check"], ["db", "upgrade"]):
        code, _, err = perfctl(*command)
        assert code == 8
        assert "upgrade perfctl" in err
    code, out, _ = perfctl("db", "info", "--format", "json")
    assert (code, rows_of(out)[0]["schema"]) == (0, "9999")


def test_db_info_check_backup_and_upgrade(perfctl, path, run_id, tmp_path):
    (row,) = rows_of(perfctl("db", "info", "--format", "json")[1])
    assert row["path"] == str(path)
    assert row["rows"]["invocation"] == 4
    code, out, _ = perfctl("db", "check", "--format", "json")
    assert code == 0
    assert {item["result"] for item in rows_of(out)} == {"ok"}
    copy = tmp_path / "copy.db"
    code, out, err = perfctl("db", "backup", str(copy))
    assert (code, out) == (0, "")
    assert str(copy) in err
    assert perfctl("db", "backup", str(copy))[0] == 8
    code, _, err = perfctl("db", "upgrade")
    assert code == 0
    assert "nothing to do" in err


def test_db_check_of_a_damaged_database_is_exit_8_and_names_it(perfctl, path, run_id):
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE invocation_metric SET value = 1")
    connection.close()
    code, out, err = perfctl("db", "check", "--format", "json")
    assert code == 8
    assert {row["look"] for row in rows_of(out) if row["result"] == "wrong"} == {"derived rows"}
    assert "derived rows" in err
