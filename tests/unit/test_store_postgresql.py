"""A database on a PostgreSQL server: the same answers as from a file, clear errors, and no lost commit."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from perfctl.__main__ import main
from perfctl.errors import (
    DatabaseLost,
    DatabaseUnavailable,
    DataError,
    QueryError,
    SchemaMismatch,
    UsageError,
)
from perfctl.model import Reason, Status
from perfctl.report.comparison import comparison_report
from perfctl.store import (
    Store,
    backup,
    check,
    database_info,
    location_of,
    named_queries,
    open_store,
    postgresql,
    query,
    schema,
    tables,
    upgrade,
)
from perfctl.store.migration import MIGRATIONS
from perfctl.transfer import merge
from tests.postgresql_server import PASSWORD, PostgresqlServer
from tests.unit import store_cases as cases
from tests.unit.report_cases import Fleet, add_fleet

FLEET = Fleet(
    hosts=("h1", "h2"),
    benchmarks=("tcp-rr", "tcp-bulk"),
    environments=("native", "container", "gvisor"),
    blocks=6,
    invalid=(("container", 2),),
    failed=(("gvisor", 1),),
    facts={"h2": {"kernel.release": "6.1.0-2"}},
)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    made = PostgresqlServer()
    try:
        made.make()
        yield made
    finally:
        made.remove()


@pytest.fixture
def url(server: PostgresqlServer) -> str:
    return server.url(server.new_database())


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with open_store(url, create=True) as opened:
        yield opened


def numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have keys and times be the same ones again."""
    keys, moments = itertools.count(1), itertools.count(1_700_000_000)
    for module in ("perfctl.store.writer", "tests.unit.store_cases"):
        monkeypatch.setattr(f"{module}.new_id", lambda: f"018f0000-0000-7000-8000-{next(keys):012x}")
    monkeypatch.setattr("perfctl.store.writer.time.time", lambda: float(next(moments)))


def fill(url: str | Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Store two runs of a fleet, with rows and packed series, and a run that has not ended."""
    with monkeypatch.context() as patched, open_store(url, create=True) as store:
        numbered(patched)
        add_fleet(store, FLEET)
        add_fleet(store, Fleet(hosts=("h1",), seed=2, costs={"native": 1.0, "container": 1.2}))
        run_id = cases.begin_run(store)
        block_id = store.writer.begin_block(run_id, cases.BLOCKS[0], attempt=1)
        long = cases.samples(*(0.1 * number for number in range(300)), warmups=2)
        store.writer.record_invocation(cases.record(block_id, "native", 1), cases.METRICS, long)
        failed = cases.record(
            block_id,
            "container",
            status=Status.FAILED,
            reason=Reason.TIMEOUT,
            detail="it took 16 s",
            exit_code=None,
        )
        store.writer.record_invocation(failed, cases.METRICS, cases.samples(1.5, 2.5, warmups=1))
        store.writer.record_event(run_id, "warning", "h1", "a note")


@pytest.fixture(scope="module")
def both(server: PostgresqlServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The same data in a file and on the server."""
    path = str(tmp_path_factory.mktemp("both") / "results.db")
    url = server.url(server.new_database())
    with pytest.MonkeyPatch.context() as patched:
        fill(path, patched)
    with pytest.MonkeyPatch.context() as patched:
        fill(url, patched)
    return path, url


def perfctl(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Return the exit code and the outputs of a command, through the real way in."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


# ---- the same answers --------------------------------------------------------------------------------------


def rows_of(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table, in the order of its key."""
    with open_store(url, read_only=True) as store:
        return {
            table.name: [
                tuple(row)
                for row in store.database.read(
                    lambda connection, table=table: connection.execute(  # type: ignore[misc]
                        table.select().order_by(*table.primary_key.columns)
                    ).all()
                )
            ]
            for table in tables.METADATA.sorted_tables
        }


def test_every_row_is_the_same(both: tuple[str, str]) -> None:
    in_file, on_server = map(rows_of, both)
    assert in_file == on_server
    assert all(in_file[name] for name in ("sample", "series", "invocation_metric", "fingerprint", "event"))


def answers(url: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with open_store(url, read_only=True) as store:
        found["runs"], found["benchmarks"] = store.runs(), store.history.named_benchmarks()
        found["cells"] = store.history.benchmark_cells("tcp-rr")
        found["baselines"], found["snapshots"] = store.history.baseline_cells(), store.history.snapshots()
        for summary in store.runs():
            run = store.run(summary.run_id)
            failures = run.detail().failures
            found[run.id] = [
                *(run.detail(), run.observations(with_usage=True), run.omissions(), run.block_states()),
                *(run.evidence("transactions_per_second"), run.evidence("events_per_s"), run.findings()),
                *(run.measured_invocations(), run.validity_counts(), run.suspect_values(), run.changes()),
                *(run.digests(), run.facts("h1"), run.facts("h1", "container"), run.previous_facts("h1")),
                [run.invocation(failure.invocation_id) for failure in failures],
                comparison_report(store, run.id).comparisons,
            ]
    return found


def test_every_answer_is_the_same(both: tuple[str, str]) -> None:
    in_file, on_server = map(answers, both)
    assert len(in_file) == 8
    for name, answer in in_file.items():
        assert on_server[name] == answer, name


@pytest.mark.parametrize("named", [item.name for item in named_queries()])
def test_named_queries_have_the_same_answers(both: tuple[str, str], named: str) -> None:
    sql = next(item.sql for item in named_queries() if item.name == named)
    found = []
    for url in both:
        with open_store(url, read_only=True) as store:
            found.append(query(store, sql, all_metrics=True))
    in_file, on_server = found
    assert in_file.columns == on_server.columns and in_file.rows
    # They need not add up floating-point numbers in the same order.
    for mine, other in zip(in_file.rows, on_server.rows, strict=True):
        assert [
            pytest.approx(value, rel=1e-12) if isinstance(value, float) else value for value in mine
        ] == list(other)


@pytest.mark.parametrize(
    "arguments",
    [
        ("compare", "018f0000-0000-7000-8000-000000000001"),
        ("gate", "018f0000-0000-7000-8000-000000000001", "--max-regression", "3%"),
        ("trend", "tcp-rr"),
        ("why", "018f0000-0000-7000-8000-000000000001", "transactions_per_second"),
        ("show", "018f0000-0000-7000-8000-000000000001"),
        ("runs",),
        ("selftest",),
        ("query", "SELECT * FROM v_value ORDER BY invocation_id, metric"),
    ],
    ids=lambda arguments: str(arguments[0]),
)
def test_commands_print_the_same_bytes(
    both: tuple[str, str],
    arguments: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = []
    for url in both:
        monkeypatch.setenv("PERFCTL_DB_URL", url)
        said.append(perfctl(capsys, *arguments, "--format", "json"))
    (code, in_file, _), (other_code, on_server, errors) = said
    assert in_file == on_server and code == other_code
    assert json.loads(in_file)["rows"]
    assert PASSWORD not in on_server + errors


def test_runs_are_merged_from_engine_to_engine_once(
    both: tuple[str, str], server: PostgresqlServer, tmp_path: Path
) -> None:
    in_file, on_server = both
    copies = {in_file: server.url(server.new_database()), on_server: str(tmp_path / "copy.db")}
    for original, copy in copies.items():
        with open_store(original, read_only=True) as source, open_store(copy, create=True) as target:
            done = merge(source, target)
            assert done.runs == 3 and not done.is_nothing
            assert merge(source, target).is_nothing
            assert {item.problems for item in check(target)} == {()}
        assert answers(copy) == answers(original)


# ---- what is wrong is said ---------------------------------------------------------------------------------


def test_the_driver_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(DatabaseUnavailable) as error:
        open_store("postgresql+psycopg://h/db")
    assert error.value.hint == "pip install 'perfctl[postgresql]'"


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ({"password": "quite-another-one"}, "the server refuses the password", "PGPASSFILE"),
        ({"password": None}, "the server refuses the password", "~/.pgpass"),
        ({"user": "nobody"}, "the server refuses the password", "PGPASSWORD"),
        ({"database": "no_such"}, "there is no such database", "createdb"),
    ],
)
def test_who_is_not_let_in_is_told_why(
    server: PostgresqlServer, url: str, monkeypatch: pytest.MonkeyPatch, change: Any, message: str, hint: str
) -> None:
    monkeypatch.setenv("PGPASSFILE", "/dev/null")
    wrong = server.url(**({"database": url.rpartition("/")[2]} | change))
    with pytest.raises(DatabaseUnavailable, match=message) as error:
        open_store(wrong, create=True)
    assert hint in str(error.value.hint) and error.value.exit_code == 8
    assert "quite" not in str(error.value)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("postgresql+psycopg://u@no-such-host.invalid/db", "there is no host no-such-host.invalid"),
        ("postgresql+psycopg://u@127.0.0.1:1/db", "no PostgreSQL server answers there"),
        ("postgresql+psycopg:///db?host=/no/such/folder", "no PostgreSQL server answers there"),
    ],
)
def test_a_server_that_is_not_there_is_named(wrong: str, message: str) -> None:
    with pytest.raises(DatabaseLost, match=message) as error:
        open_store(wrong)
    assert error.value.exit_code == 8


@pytest.mark.parametrize(
    "wrong", ["mysql://u@h/db", "postgresql+psycopg2://u@h/db", "postgres://h/db", "postgresql://h:port/db"]
)
def test_other_urls_are_refused_without_being_quoted(wrong: str) -> None:
    with pytest.raises(UsageError, match=r"cannot use the database|no URL"):
        open_store(wrong)


def test_an_old_server_or_another_encoding_is_refused(
    server: PostgresqlServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = server.url(server.new_database(options="OWNER perfctl ENCODING 'SQL_ASCII'"))
    with pytest.raises(DatabaseUnavailable, match="the encoding SQL_ASCII"):
        open_store(other, create=True)
    monkeypatch.setattr(postgresql, "OLDEST_VERSION", 99)
    with pytest.raises(DatabaseUnavailable, match=r"the server is PostgreSQL 1\d") as error:
        open_store(url, create=True)
    assert "99 is the oldest" in str(error.value.hint)


def test_missing_rights_are_found_before_anything_is_measured(server: PostgresqlServer) -> None:
    database = server.new_database(options="OWNER admin")
    server.admin("REVOKE CREATE ON SCHEMA public FROM PUBLIC", database=database)
    url = server.url(database)
    with pytest.raises(DatabaseUnavailable, match="empty"):
        open_store(url)
    with pytest.raises(DatabaseUnavailable, match="the role lacks rights") as error:
        open_store(url, create=True)
    assert "owner" in str(error.value.hint)
    server.admin("GRANT CREATE ON SCHEMA public TO perfctl", database=database)
    open_store(url, create=True).close()
    server.admin("CREATE ROLE reader LOGIN PASSWORD 'reads-all-of-it'")
    reader = server.url(database, user="reader", password="reads-all-of-it")
    with pytest.raises(DatabaseUnavailable, match="lacks rights"):
        open_store(reader, read_only=True)
    server.admin("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader", database=database)
    with open_store(reader, read_only=True) as store:
        assert store.runs() == []
        with pytest.raises(DatabaseUnavailable, match="reading only"):
            cases.begin_run(store)
    with pytest.raises(DatabaseUnavailable, match="may not write the tables artifact, benchmark, block"):
        open_store(reader)


def test_a_server_that_cannot_be_written_is_refused_for_a_run(server: PostgresqlServer, url: str) -> None:
    open_store(url, create=True).close()
    name = url.rpartition("/")[2]
    server.admin(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with open_store(url, read_only=True) as store:
        assert store.runs() == []


def test_databases_of_others_and_of_newer_versions_are_refused(
    server: PostgresqlServer, store: Store
) -> None:
    other = server.new_database()
    server.admin("CREATE TABLE run (id integer)", database=other)
    with pytest.raises(DatabaseUnavailable, match="was not made by perfctl"):
        open_store(server.url(other), create=True)
    server.admin("UPDATE alembic_version SET version_num = '9999'", database=store.name.rpartition("/")[2])
    with pytest.raises(SchemaMismatch, match="schema 9999"):
        open_store(server.url(store.name.rpartition("/")[2]))


def test_a_password_is_taken_from_the_environment_alone(
    server: PostgresqlServer,
    both: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    tmp_path: Path,
) -> None:
    url = both[1]
    name = str(location_of(url))
    code, _, errors = perfctl(capsys, "--db", url, "runs")
    assert code == 2 and PASSWORD not in errors
    assert all(way in errors for way in ("PGPASSWORD", "PERFCTL_DB_URL", "~/.pgpass", "PGPASSFILE"))
    code, _, errors = perfctl(capsys, "--db", f"{name}?password={PASSWORD}", "runs")
    assert code == 2 and PASSWORD not in errors
    (tmp_path / "perfctl.toml").write_text(f'db = "{url}"')
    assert perfctl(capsys, "--project", str(tmp_path), "runs")[0] == 2
    assert perfctl(capsys, "--db", str(tmp_path / "x.db"), "db", "pull", url, "latest")[0] == 2
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    code, runs, _ = perfctl(capsys, "--db", name, "runs")
    assert code == 0 and runs
    monkeypatch.delenv("PGPASSWORD")
    (tmp_path / "pgpass").write_text(f"127.0.0.1:{server.port}:*:perfctl:{PASSWORD}\n")
    (tmp_path / "pgpass").chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
    assert perfctl(capsys, "--db", name, "runs")[1] == runs
    shown = perfctl(capsys, "--db", name, "db", "info", "--format", "json")[1]
    assert json.loads(shown)["rows"][0]["path"] == name


# ---- upkeep ------------------------------------------------------------------------------------------------


def test_two_controllers_make_the_tables_of_one_database(url: str) -> None:
    meet = threading.Barrier(4)

    def begin(number: int) -> str:
        meet.wait()
        with open_store(url, create=True) as store:
            run_id = cases.begin_run(store)
            cases.measure_block(
                store,
                run_id,
                cases.BLOCKS[0],
                {("native", 1): 1.0, ("native", 2): 2.0, ("container", 1): 3.0},
            )
            return run_id

    with ThreadPoolExecutor(4) as pool:
        begun = list(pool.map(begin, range(4)))
    with open_store(url, read_only=True) as store:
        assert {run.run_id for run in store.runs()} == set(begun)
        assert all(len(store.run(run_id).observations()) == 3 for run_id in begun)
        assert {item.problems for item in check(store)} == {()}


def test_info_check_and_backup_of_a_server(both: tuple[str, str], tmp_path: Path) -> None:
    in_file, on_server = map(database_info, both)
    assert on_server.rows == in_file.rows and on_server.size_bytes > 100_000
    assert on_server.name == str(location_of(both[1])) and "checksums" in on_server.integrity
    with open_store(both[1], read_only=True) as store:
        assert {item.name: item.problems for item in check(store)} == {
            "file structure": (),
            "references": (),
            "raw outputs": (),
            "derived rows": (),
        }
    with pytest.raises(UsageError) as error:
        backup(both[1], tmp_path / "copy")
    assert "pg_dump" in str(error.value.hint)


def test_what_is_wrong_is_found(server: PostgresqlServer, store: Store) -> None:
    run_id = cases.begin_run(store)
    values = {("native", 1): 1.0, ("native", 2): 2.0, ("container", 1): 3.0}
    cases.measure_block(store, run_id, cases.BLOCKS[0], values)
    database = store.name.rpartition("/")[2]
    server.admin(
        "ALTER TABLE artifact DISABLE TRIGGER ALL; DELETE FROM artifact;"
        " UPDATE invocation_metric SET value = 7",
        database=database,
    )
    found = {item.name: item.problems for item in check(store)}
    assert "3 x invocation.stdout_sha256 refers to a row that does not exist" in found["references"]
    assert "differs from its samples" in found["derived rows"][0]
    store.writer.rebuild_derived()
    assert {item.name: item.problems for item in check(store)}["derived rows"] == ()


MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "9000", "CURRENT", None, None


def upgrade():
    with op.batch_alter_table("run") as table:
        table.add_column(sa.Column("note", sa.TEXT(), nullable=True))
    if FAILS:
        raise RuntimeError("power cut")
"""


@pytest.mark.parametrize("fails", [False, True])
def test_migrations_run_on_a_server_whole_or_not_at_all(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: PostgresqlServer, fails: bool
) -> None:
    cases.begin_run(store)
    url = server.url(store.name.rpartition("/")[2])
    scripts = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    script = MIGRATION.replace("CURRENT", schema.REVISION).replace("FAILS", str(fails))
    (scripts / "versions" / "9000_next.py").write_text(script)
    monkeypatch.setattr("perfctl.store.migration.MIGRATIONS", scripts)
    monkeypatch.setattr(schema, "REVISION", "9000")
    if fails:
        with pytest.raises(RuntimeError):
            upgrade(url)
    else:
        done = upgrade(url)
        assert (done.after, done.backup) == ("9000", None)
    columns = server.admin(
        "SELECT count(*) FROM information_schema.columns WHERE table_name = 'run' AND column_name = 'note'",
        database=url.rpartition("/")[2],
    )
    assert columns == [(0 if fails else 1,)]
    assert server.admin("SELECT count(*) FROM v_run", database=url.rpartition("/")[2]) == [(1,)]


# ---- users' SQL --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("DELETE FROM run", "syntax error"),
        ("SELECT 1; DELETE FROM run", "multiple commands"),
        ("SELECT nextval('run_rowid_seq')", "a query may only read"),
        ("SELECT no_such FROM v_run", "no_such"),
        ("SELECT pg_sleep(30)", "took longer than 0.3 s"),
        ("SELECT pg_read_file('/etc/passwd')", "a query may only read"),
        ("SELECT 1 / 0", "division by zero"),
        ("", "syntax error"),
    ],
)
def test_a_query_can_read_and_nothing_else(both: tuple[str, str], sql: str, message: str) -> None:
    with open_store(both[1]) as store:
        with pytest.raises(QueryError, match=message):
            query(store, sql, timeout_s=0.3)
        assert len(store.runs()) == 3


def test_a_query_has_limits_and_hints(both: tuple[str, str]) -> None:
    with open_store(both[1], read_only=True) as store:
        cut = query(
            store, "SELECT number, number > 2 AS large FROM generate_series(1, 5000) AS number", max_rows=3
        )
        assert cut.rows == ((1, 0), (2, 0), (3, 1)) and cut.is_cut and cut.columns == ("number", "large")
        assert not query(store, "SELECT 1", max_rows=1).is_cut
        assert query(store, "SELECT '100%' AS percent").rows == (("100%",),)
        values = "(VALUES (1), (NULL), (4), (2), (8)) AS t(x)"
        medians = f"SELECT median(x), median(x) FILTER (WHERE x > 9) FROM {values}"
        assert query(store, medians).rows == ((3.0, None),)
        with pytest.raises(QueryError) as error:
            query(store, "SELECT benchmrk FROM v_value")
        assert "did you mean benchmark" in str(error.value.hint)


# ---- a server that goes away -------------------------------------------------------------------------------


def one_block(store: Store, run_id: str, index: int) -> str:
    return store.writer.begin_block(run_id, cases.block(index=index), attempt=1)


def test_a_server_that_comes_back_is_waited_for(
    server: PostgresqlServer, caplog: pytest.LogCaptureFixture
) -> None:
    url = server.url(server.new_database())
    with open_store(url, create=True, patience_s=60) as store:
        run_id = cases.begin_run(store)
        server.stop()
        back = threading.Timer(0.5, server.start)
        back.start()
        block_id = one_block(store, run_id, 0)
        back.join()
        assert [state.block_id for state in store.run(run_id).block_states()] == [block_id]
    assert "waiting for the server, up to 60 s" in caplog.text and "the server is back" in caplog.text


def test_a_server_that_stays_away_ends_the_run_and_can_be_resumed(server: PostgresqlServer) -> None:
    url = server.url(server.new_database())
    with open_store(url, create=True, patience_s=0.3) as store:
        run_id = cases.begin_run(store)
        server.stop()
        with pytest.raises(DatabaseLost) as error:
            one_block(store, run_id, 0)
        server.start()
        assert error.value.exit_code == 8
        store.writer.reopen_run(run_id)
        assert store.run(run_id).block_states() == []


@pytest.mark.parametrize("is_committed", [True, False])
def test_a_commit_without_an_answer_is_not_done_twice_and_not_lost(
    server: PostgresqlServer, store: Store, monkeypatch: pytest.MonkeyPatch, is_committed: bool
) -> None:
    """The connection breaks while COMMIT is on its way: before the server has it, or after."""
    run_id = cases.begin_run(store)
    monkeypatch.setattr(store.database, "_patience_s", 60.0)
    commit = psycopg.Connection.commit
    broken: list[psycopg.Connection[Any]] = []

    def commit_without_an_answer(connection: psycopg.Connection[Any]) -> None:
        if broken or connection.info.transaction_status is not psycopg.pq.TransactionStatus.INTRANS:
            commit(connection)
            return
        broken.append(connection)
        if is_committed:
            commit(connection)
        connection.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(psycopg.Connection, "commit", commit_without_an_answer)
    block_id = one_block(store, run_id, 0)
    assert broken
    assert [state.block_id for state in store.run(run_id).block_states()] == [block_id]


def test_whoever_waits_for_a_server_gives_up_when_the_run_is_stopped(server: PostgresqlServer) -> None:
    url = server.url(server.new_database())
    with open_store(url, create=True, patience_s=600) as store:
        run_id = cases.begin_run(store)
        server.stop()
        threading.Timer(0.3, store.stop_waiting).start()
        with pytest.raises(DatabaseLost):
            one_block(store, run_id, 0)
        server.start()


def test_a_row_that_the_schema_forbids_is_a_data_error(store: Store) -> None:
    run_id = cases.begin_run(store)
    one_block(store, run_id, 0)
    with pytest.raises(DataError, match="the database refused a row"):
        one_block(store, run_id, 0)
    with pytest.raises(DataError, match="the database refused a value"):
        store.writer.record_event(run_id, "info", "h1", "nul \x00 byte")
    assert len(store.run(run_id).block_states()) == 1
