"""Questions to the database: observations, users' SQL, named queries, the documented views."""

from __future__ import annotations

import re
from importlib import import_module
from itertools import product
from pathlib import Path

import pytest

from perfctl.errors import QueryError, UnknownName
from perfctl.model import Reason, Status, Target
from perfctl.render.query import rows_view
from perfctl.store import named_queries, named_query, open_store, query
from tests.unit import store_cases as cases

ROOT = Path(__file__).parents[2]


def values(container: float, native: float = 100.0) -> dict[tuple[str, int], float]:
    return {("native", 1): native, ("native", 2): native + 1, ("container", 1): container}


@pytest.fixture
def store(tmp_path: Path):
    with open_store(tmp_path / "results.db", create=True) as opened:
        yield opened


@pytest.fixture
def run_id(store):
    """A run of two complete blocks on h1 and one on the pair."""
    run_id = cases.begin_run(store)
    cases.measure_block(store, run_id, cases.block(), values(90.0))
    cases.measure_block(store, run_id, cases.block(index=1), values(80.0))
    cases.measure_block(store, run_id, cases.block(cases.PAIR, benchmark="stream"), values(50.0))
    store.writer.end_run(run_id, "complete")
    return run_id


def test_observations_are_one_value_per_invocation_and_metric_in_a_fixed_order(store, run_id):
    found = [
        (item.benchmark, item.target, item.block, item.environment, item.replicate, item.value)
        for item in store.run(run_id).observations()
    ]
    h1 = Target("h1")
    assert found == [
        ("cpu-1", h1, 0, "container", 1, 90.0),
        ("cpu-1", h1, 0, "native", 1, 100.0),
        ("cpu-1", h1, 0, "native", 2, 101.0),
        ("cpu-1", h1, 1, "container", 1, 80.0),
        ("cpu-1", h1, 1, "native", 1, 100.0),
        ("cpu-1", h1, 1, "native", 2, 101.0),
        ("stream", cases.PAIR, 0, "container", 1, 50.0),
        ("stream", cases.PAIR, 0, "native", 1, 100.0),
        ("stream", cases.PAIR, 0, "native", 2, 101.0),
    ]
    assert {item.metric for item in store.run(run_id).observations()} == {cases.SPEED}


def test_observations_leave_out_other_runs_open_blocks_and_what_failed(store, run_id):
    other = cases.begin_run(store)
    cases.measure_block(store, other, cases.block(), values(1.0))
    open_block = store.writer.begin_block(run_id, cases.block(index=2), 1)
    store.writer.record_invocation(cases.record(open_block), cases.METRICS, cases.samples(7.0))
    kept = store.writer.begin_block(run_id, cases.block(index=3), 1)
    failed = cases.record(kept, status=Status.FAILED, reason=Reason.UNPARSABLE)
    store.writer.record_invocation(failed, cases.METRICS, cases.samples(8.0))
    store.writer.end_block(kept, "complete")
    assert len(store.run(run_id).observations()) == 9
    assert [item.value for item in store.run(other).observations()] == [1.0, 100.0, 101.0]


def test_observations_come_from_the_last_complete_attempt(store):
    run_id = cases.begin_run(store)
    for attempt, (status, value) in enumerate(
        [("complete", 1.0), ("failed", 2.0), ("complete", 3.0), ("interrupted", 4.0)], start=1
    ):
        block_id = store.writer.begin_block(run_id, cases.block(), attempt)
        store.writer.record_invocation(cases.record(block_id), cases.METRICS, cases.samples(value))
        store.writer.end_block(block_id, status)
    assert [item.value for item in store.run(run_id).observations()] == [3.0]


def test_observations_say_which_accelerator_ran_a_guest(store):
    run_id = cases.begin_run(store)
    for index, accelerator in enumerate(["kvm", "tcg", None]):
        block_id = store.writer.begin_block(run_id, cases.block(index=index), 1)
        done = cases.record(block_id, "container", accelerator=accelerator)
        store.writer.record_invocation(done, cases.METRICS, cases.samples(1.0))
        store.writer.end_block(block_id, "complete")
    assert [item.accelerator for item in store.run(run_id).observations()] == ["kvm", "tcg", None]


def test_a_block_that_never_was_complete_gives_what_its_last_attempt_measured(store):
    run_id = cases.begin_run(store)
    for attempt, value in enumerate([1.0, 2.0], start=1):
        block_id = store.writer.begin_block(run_id, cases.block(), attempt)
        store.writer.record_invocation(cases.record(block_id), cases.METRICS, cases.samples(value))
        store.writer.end_block(block_id, "failed")
    assert [item.value for item in store.run(run_id).observations()] == [2.0]


def test_every_question_agrees_on_which_attempt_counts(store):
    run_id = cases.begin_run(store)
    statuses = ("running", "complete", "failed", "interrupted")
    expected = {}
    for index, of in enumerate(each for n in (1, 2, 3) for each in product(statuses, repeat=n)):
        for attempt, status in enumerate(of, start=1):
            block_id = store.writer.begin_block(run_id, cases.block(index=index), attempt)
            done = cases.record(block_id)
            store.writer.record_invocation(done, cases.METRICS, cases.samples(attempt))
            if status != "running":
                store.writer.end_block(block_id, status)
        ended = [
            (status == "complete", attempt) for attempt, status in enumerate(of, 1) if status != "running"
        ]
        if ended:
            expected[index] = max(ended)[1]
    assert {item.block: item.value for item in store.run(run_id).observations()} == expected
    (cell,) = store.history.benchmark_cells("cpu-1")
    assert cell.values == expected
    assert {
        item.block: item.value for item in store.run(run_id).evidence("events_per_s") if item.counts
    } == expected
    assert {item.block for item in store.run(run_id).omissions()} == set(expected)
    assert len(store.run(run_id).omissions()) == 2 * len(expected)
    for view in ("v_block", "v_invocation", "v_value", "v_sample"):
        rows = query(store, f"SELECT block, attempt FROM {view} WHERE attempt_counts").rows
        assert sorted(rows) == sorted(expected.items()), view
    for index, attempt in expected.items():
        place = ("cpu-1", str(cases.H1), index, "native", 1, "events_per_s")
        nowhere = [("cpu-2", *place[1:]), (*place[:5], "no_metric"), (*place[:4], 3, place[5])]
        ((at, found),) = store.run(run_id).judged_values([*nowhere, place])
        assert (at, found.value) == (place, attempt)


def test_rows_and_packed_series_answer_alike(store):
    run_id = cases.begin_run(store)
    block_id = store.writer.begin_block(run_id, cases.block(), 1)
    short, long = [float(value) for value in range(64)], [float(value) / 3 for value in range(1000)]
    store.writer.record_invocation(cases.record(block_id), cases.METRICS, cases.samples(*short, warmups=4))
    store.writer.record_invocation(
        cases.record(block_id, replicate=2), cases.METRICS, cases.samples(*long, warmups=10)
    )
    found = query(
        store,
        "SELECT replicate, kept_as, sample_count, warmup_count, value_sum, value FROM v_value ORDER BY 1",
    )
    assert found.rows == (
        (1, "rows", 64, 4, sum(short), 33.5),
        (2, "packed", 1000, 10, pytest.approx(sum(long), rel=1e-15), pytest.approx(504.5 / 3)),
    )
    assert query(store, "SELECT count(*), sum(value) FROM v_sample").rows == ((64, sum(short)),)


def test_a_long_series_with_gaps_or_scattered_warmup_stays_rows(store):
    run_id = cases.begin_run(store)
    block_id = store.writer.begin_block(run_id, cases.block(), 1)
    whole = cases.samples(*range(100))
    store.writer.record_invocation(cases.record(block_id), cases.METRICS, whole[:50] + whole[51:])
    late_warmup = [*cases.samples(*range(99)), cases.samples(*range(100), warmups=100)[99]]
    store.writer.record_invocation(cases.record(block_id, replicate=2), cases.METRICS, late_warmup)
    backwards = store.writer.begin_block(run_id, cases.block(index=1), 1)
    store.writer.record_invocation(cases.record(backwards), cases.METRICS, whole[::-1])
    found = query(store, "SELECT kept_as, sample_count, warmup_count FROM v_value ORDER BY block, replicate")
    assert found.rows == (("rows", 99, 0), ("rows", 100, 1), ("packed", 100, 0))


def test_a_query_gives_columns_and_rows(store, run_id):
    found = query(store, "WITH x AS (SELECT * FROM v_run) SELECT suite, ok AS good FROM x;")
    assert (found.columns, found.rows) == (("suite", "good"), (("demo", 9),))


def test_a_query_may_use_median(store, run_id):
    found = query(store, "SELECT median(value), median(NULL) FROM v_value WHERE environment = 'container'")
    assert found.rows == ((80.0, None),)


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM sample",
        "INSERT INTO event SELECT * FROM event",
        "UPDATE run SET status = 'complete'",
        "DROP VIEW v_run",
        "CREATE TABLE t (x)",
        "CREATE TEMP TABLE t (x)",
        "ATTACH '/tmp/other.db' AS other",
        "PRAGMA user_version = 5",
        "PRAGMA writable_schema = 1",
        "VACUUM",
        "VACUUM INTO '/tmp/copy.db'",
        "BEGIN IMMEDIATE",
        "SELECT load_extension('x')",
    ],
)
def test_a_query_that_is_no_reading_is_refused(store, run_id, sql):
    before = store.path.read_bytes()
    with pytest.raises(QueryError) as refused:
        query(store, sql)
    assert refused.value.exit_code == 8
    assert store.path.read_bytes() == before
    assert query(store, "SELECT status FROM v_run").rows == (("complete",),)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT 1; SELECT 2", "one statement"),
        ("SELECT 1; DELETE FROM run", "one statement"),
        ("SELECT price FROM v_run", "no such column: price"),
        ("SELECT * FROM v_nothing", "no such table"),
        ("SELEC 1", "syntax error"),
        ("", "no statement"),
        ("-- only a comment", "no statement"),
        ("SELECT 1 WHERE ?", "binding"),
        ("SELECT 'a\0b'", "null character|unrecognized token"),
    ],
)
def test_a_wrong_query_says_what_is_wrong(store, sql, message):
    with pytest.raises(QueryError, match=message):
        query(store, sql)


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT vcpus FROM v_value", "vcpus is in v_invocation"),
        ("SELECT s.rule FROM v_sample AS s", "rule is in v_finding"),
        ("SELECT valu FROM v_value", "did you mean value (v_sample, v_value)"),
        ("SELECT qqqq FROM v_value", "docs/database.md"),
    ],
)
def test_an_unknown_column_is_answered_with_where_it_is(store, sql, words):
    with pytest.raises(QueryError) as caught:
        query(store, sql)
    assert words in str(caught.value.hint)


@pytest.mark.parametrize("view", ["v_value", "v_sample"])
def test_values_and_samples_name_their_host_and_suite(store, run_id, view):
    sql = f"SELECT DISTINCT suite, host, peer, target FROM {view} ORDER BY host, peer"
    found = query(store, sql).rows
    assert found
    for suite, host, peer, target in found:
        assert suite == "demo" and target == (f"{host}->{peer}" if peer else host)


def test_the_documented_query_for_medians_runs(store, run_id):
    (sql,) = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "database.md").read_text(), re.DOTALL)
    assert query(store, sql).columns[:4] == ("host", "peer", "benchmark", "environment")
    rows = query(store, sql.replace("latency_p99", "events_per_s")).rows
    assert {row[3] for row in rows} >= {"native"}


def test_a_query_without_end_is_stopped(store):
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with pytest.raises(QueryError, match="longer than"):
        query(store, endless, timeout_s=0.1)


def test_every_named_query_describes_itself_and_runs(store, run_id):
    names = [named.name for named in named_queries()]
    assert names == ["drift", "failures", "overhead", "samples-per-run", "slowest", "validity"]
    for named in named_queries():
        assert len(named.description) > 20
        assert len(query(store, named.sql).columns) > 4


def test_named_overhead_is_the_median_of_the_blocks_ratios(store, run_id):
    found = query(store, named_query("overhead").sql)
    wanted = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
    assert [(row["benchmark"], row["blocks"], row["ratio"]) for row in wanted] == [
        ("cpu-1", 2, pytest.approx(0.85)),
        ("stream", 1, 0.5),
    ]


def test_named_overhead_rests_on_the_attempt_that_counts(store):
    run_id = cases.begin_run(store)
    attempts = [(0, "failed", 10.0), (0, "complete", 90.0), (1, "failed", 20.0), (1, "failed", 80.0)]
    tries = dict.fromkeys((0, 1), 0)
    for index, status, value in attempts:
        tries[index] += 1
        block_id = store.writer.begin_block(run_id, cases.block(index=index), tries[index])
        for name, number in (("native", 100.0), ("container", value)):
            store.writer.record_invocation(cases.record(block_id, name), cases.METRICS, cases.samples(number))
        store.writer.end_block(block_id, status)
    assert overheads(store) == [(None, 2, pytest.approx(0.85), None)]
    drift = query(store, named_query("drift").sql)
    assert [row[drift.columns.index("block")] for row in drift.rows] == [0, 1]


def measure_guests(store, of: list[tuple[str | None, str | None, float]]) -> str:
    """Store a block per (accelerator of the baseline, of the other, its value); the baseline's is 100."""
    run_id = cases.begin_run(store)
    for index, (base, other, value) in enumerate(of):
        block_id = store.writer.begin_block(run_id, cases.block(index=index), 1)
        for name, accelerator, number in (("native", base, 100.0), ("container", other, value)):
            done = cases.record(block_id, name, accelerator=accelerator)
            store.writer.record_invocation(done, cases.METRICS, cases.samples(number))
        store.writer.end_block(block_id, "complete")
    return run_id


def overheads(store) -> list[tuple[object, ...]]:
    found = query(store, named_query("overhead").sql)
    wanted = [found.columns.index(name) for name in ("accelerator", "blocks", "ratio", "remark")]
    return [tuple(row[place] for place in wanted) for row in found.rows]


def test_named_overhead_keeps_accelerators_apart_and_marks_what_is_emulated(store):
    mark = "emulated: not an overhead figure"
    measure_guests(store, [(None, "kvm", 90.0), (None, "kvm", 90.0), (None, "tcg", 5.0)])
    assert overheads(store) == [("kvm", 2, 0.9, None), ("tcg", 1, 0.05, mark)]


def test_named_overhead_never_crosses_accelerators(store):
    mark = "emulated: not an overhead figure"
    measure_guests(
        store, [("kvm", "kvm", 90.0), ("kvm", "tcg", 5.0), ("tcg", "tcg", 80.0), ("tcg", None, 900.0)]
    )
    assert overheads(store) == [("tcg", 1, 9.0, mark), ("kvm", 1, 0.9, None), ("tcg", 1, 0.8, mark)]


def test_named_failures_lists_what_went_wrong(store, run_id):
    block_id = store.writer.begin_block(run_id, cases.block(index=5), 1)
    failed = cases.record(block_id, status=Status.FAILED, reason=Reason.TIMEOUT, detail="no end in 60 s")
    store.writer.record_invocation(failed, cases.METRICS, [])
    found = query(store, named_query("failures").sql)
    assert [row[found.columns.index("reason")] for row in found.rows] == ["timeout"]


def test_an_unknown_named_query_is_refused():
    with pytest.raises(UnknownName, match="nothing") as refused:
        named_query("nothing")
    assert "overhead" in (refused.value.hint or "")


def documented_columns() -> dict[str, list[str]]:
    """Return {view: columns} as docs/database.md lists them, in its tables under `### v_...` headings."""
    views: dict[str, list[str]] = {}
    view = None
    for line in (ROOT / "docs" / "database.md").read_text().splitlines():
        if heading := re.match(r"#+ (.*)", line):
            name = re.match(r"### `(v_\w+)`", line)
            view = name.group(1) if name else None
            assert view or not heading.group(1).startswith("`v_")
        elif view and (row := re.match(r"\| `(\w+)` \|", line)):
            views.setdefault(view, []).append(row.group(1))
    return views


def test_the_documentation_lists_every_column_of_every_view(store):
    views = [row[0] for row in query(store, "SELECT name FROM sqlite_master WHERE type = 'view'").rows]
    real = {view: list(query(store, f"SELECT * FROM {view}").columns) for view in views}
    assert documented_columns() == real


def test_the_documentation_lists_every_named_query():
    text = (ROOT / "docs" / "database.md").read_text()
    assert re.findall(r"^- `([\w-]+)`: ", text, re.MULTILINE) == [named.name for named in named_queries()]


MANY = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT {} FROM n"


@pytest.mark.parametrize(
    "expression",
    ["length(replace(hex(zeroblob(2000000)), '0', 'ab'))", "i", "length(hex(randomblob(1000000)))"],
)
def test_a_query_is_stopped_whatever_it_computes(store, expression):
    with pytest.raises(QueryError, match="longer than"):
        query(store, MANY.format(f"sum({expression})"), timeout_s=0.2)


def test_an_answer_is_cut_and_says_so(store):
    found = query(store, MANY.format("i"), max_rows=3)
    assert (found.rows, found.is_cut) == (((1,), (2,), (3,)), True)
    assert not query(store, f"{MANY.format('i')} LIMIT 3", max_rows=3).is_cut
    assert "only the first 3 rows" in " ".join(rows_view(found).notes)


def test_an_answer_that_needs_too_much_memory_is_refused(store, monkeypatch):
    monkeypatch.setattr(import_module("perfctl.store.user_query"), "ANSWER_BYTES", 8 << 20)
    with pytest.raises(QueryError, match="more than 8 MiB"):
        query(store, MANY.format("hex(zeroblob(1000000))"))
    with pytest.raises(QueryError, match="more than 64 MiB"):
        query(store, "SELECT length(hex(zeroblob(40000000)))")


def test_text_that_is_no_utf8_is_refused(store):
    with pytest.raises(QueryError, match="not UTF-8") as caught:
        query(store, "SELECT 'caf\udce9'")
    assert "caf\\xe9" in caught.value.message
