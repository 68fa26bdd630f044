"""Opening a database: what is wrong with one is said in words, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from perfctl.errors import DatabaseUnavailable, DataError, SchemaMismatch, UsageError
from perfctl.store import backup, check, open_store, query, schema, sqlite
from tests.unit import store_cases as cases


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


@pytest.fixture
def filled(path: Path) -> Path:
    """A closed database with one run of two complete blocks."""
    with open_store(path, create=True) as store:
        run_id = cases.begin_run(store)
        for index in (0, 1):
            values = {("native", 1): 100.0, ("native", 2): 101.0, ("container", 1): 90.0 + index}
            cases.measure_block(store, run_id, cases.block(index=index), values)
        store.writer.end_run(run_id, "complete")
    return path


@contextmanager
def unprivileged(directory: Path) -> Iterator[None]:
    """Become nobody for file access, as root may write anything; `directory` stays reachable."""
    if os.geteuid() != 0:
        yield
        return
    opened = [parent for parent in directory.parents if parent.stat().st_uid == 0 and parent != Path("/")]
    modes = {parent: parent.stat().st_mode for parent in opened}
    for parent in opened:
        parent.chmod(modes[parent] | 0o011)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        for parent, mode in modes.items():
            parent.chmod(mode)


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}"])
def test_a_path_and_an_sqlite_url_are_the_same(path, form):
    open_store(form.format(path), create=True).close()
    with open_store(path) as store:
        assert store.runs() == []


@pytest.mark.parametrize("url", ["mysql://user:secret@db/results", "sqlite://results.db", "sqlite:///"])
def test_another_url_is_refused_and_a_password_in_it_is_not_repeated(url):
    with pytest.raises(UsageError) as refused:
        open_store(url, create=True)
    assert "secret" not in f"{refused.value}{refused.value.hint}"


def test_a_new_database_waits_for_nobody_to_ask_twice(path):
    open_store(path, create=True).close()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (schema.REVISION,)
    connection.close()


def test_many_processes_may_make_the_same_database(path):
    code = "import sys; from perfctl.store import open_store; open_store(sys.argv[1], create=True).close()"
    children = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(4)]
    assert [child.wait(timeout=60) for child in children] == [0, 0, 0, 0]
    with open_store(path) as store:
        assert store.runs() == []


def test_without_create_a_missing_file_is_named_and_not_made(path):
    with pytest.raises(DatabaseUnavailable, match="no database yet") as refused:
        open_store(path)
    assert refused.value.where == str(path)
    assert not path.exists()


def test_a_missing_directory_is_named_and_not_made(tmp_path):
    with pytest.raises(DatabaseUnavailable, match="does not exist") as refused:
        open_store(tmp_path / "typo" / "results.db", create=True)
    assert "mkdir" in (refused.value.hint or "")
    assert not (tmp_path / "typo").exists()


def test_the_users_data_directory_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    open_store(tmp_path / "data" / "perfctl" / "results.db", create=True).close()
    assert (tmp_path / "data" / "perfctl" / "results.db").is_file()


def test_a_directory_is_no_database(tmp_path):
    with pytest.raises(DatabaseUnavailable, match="directory"):
        open_store(tmp_path, create=True)


@pytest.mark.parametrize("content", [b"this is no database\n" * 100, b"SQLite format 3\0" + b"\xff" * 4000])
def test_another_kind_of_file_is_refused_and_left_as_it_is(path, content):
    path.write_bytes(content)
    with pytest.raises(DatabaseUnavailable, match=r"not an SQLite database|damaged"):
        open_store(path, create=True)
    assert path.read_bytes() == content


def test_an_sqlite_database_of_others_is_refused_and_left_as_it_is(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()
    content = path.read_bytes()
    with pytest.raises(DatabaseUnavailable, match="not made by perfctl"):
        open_store(path, create=True)
    assert path.read_bytes() == content


def test_a_truncated_database_is_named_as_damaged(filled):
    content = filled.read_bytes()
    filled.write_bytes(content[: len(content) // 2])
    with pytest.raises(DatabaseUnavailable, match="damaged"), open_store(filled) as store:
        store.run("latest").observations()
    assert filled.read_bytes() == content[: len(content) // 2]


@pytest.mark.parametrize(("revision", "word"), [("9999", "upgrade perfctl"), ("0000", "db upgrade")])
def test_another_schema_is_refused_with_what_to_do(filled, revision, word):
    connection = sqlite3.connect(filled)
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    connection.close()
    for read_only in (False, True):
        with pytest.raises(SchemaMismatch, match=revision) as refused:
            open_store(filled, create=not read_only, read_only=read_only)
        assert word in (refused.value.hint or "")
        assert refused.value.exit_code == 8


def test_a_read_only_file_is_refused_for_writing_and_can_be_read(filled):
    filled.chmod(0o444)
    filled.parent.chmod(0o555)
    try:
        with unprivileged(filled):
            with pytest.raises(DatabaseUnavailable, match="cannot be written"):
                open_store(filled, create=True)
            with open_store(filled, read_only=True) as store:
                assert len(store.run("latest").observations()) == 6
    finally:
        filled.parent.chmod(0o755)


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    directory = tmp_path / "closed"
    directory.mkdir(mode=0o555)
    with unprivileged(directory), pytest.raises(DatabaseUnavailable, match="cannot be opened") as refused:
        open_store(directory / "results.db", create=True)
    assert "permissions" in (refused.value.hint or "")


def test_a_file_that_cannot_be_read_is_named(filled):
    filled.chmod(0o000)
    with unprivileged(filled), pytest.raises(DatabaseUnavailable, match="permission denied"):
        open_store(filled)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.close()


def test_a_locked_database_is_refused_after_the_wait(filled):
    with locked(filled), pytest.raises(DatabaseUnavailable, match="locked"):
        open_store(filled, busy_timeout_s=0.1)


def test_a_write_that_met_a_lock_can_be_repeated_and_is_kept_once(filled):
    with open_store(filled, busy_timeout_s=0.1) as store:
        block_id = store.writer.begin_block(store.run("latest").id, cases.block(index=2), 1)
        done = cases.record(block_id)
        with locked(filled), pytest.raises(DatabaseUnavailable, match="locked"):
            store.writer.record_invocation(done, cases.METRICS, cases.samples(1.0))
        store.writer.record_invocation(done, cases.METRICS, cases.samples(1.0))
        assert [len(state.invocations) for state in store.run("latest").block_states()] == [3, 3, 1]


def test_a_short_lock_only_delays_a_write(filled):
    with open_store(filled, busy_timeout_s=30) as store:
        block_id = store.writer.begin_block(store.run("latest").id, cases.block(index=2), 1)
        failures: list[BaseException] = []

        def write() -> None:
            try:
                store.writer.record_invocation(cases.record(block_id), cases.METRICS, cases.samples(1.0))
            except DataError as error:
                failures.append(error)

        with locked(filled):
            thread = threading.Thread(target=write)
            thread.start()
            thread.join(timeout=0.2)
            assert thread.is_alive()
        thread.join(timeout=30)
        assert failures == []
        assert len(store.run("latest").block_states()[2].invocations) == 1


def test_reading_goes_on_while_another_program_writes(filled):
    with open_store(filled) as store, locked(filled):
        assert len(store.run("latest").observations()) == 6


_WRITE_FOREVER = """
import sys
from perfctl.store import open_store
from tests.unit import store_cases as cases

with open_store(sys.argv[1], create=True) as store:
    run_id = cases.begin_run(store)
    for index in range(100_000):
        block_id = store.writer.begin_block(run_id, cases.block(index=index), 1)
        done = cases.record(block_id, stdout=b"%d" % index * 1000)
        store.writer.record_invocation(done, cases.METRICS, cases.samples(*range(50)))
        print(done.id, flush=True)
"""


def test_kill_9_while_writing_loses_nothing_that_was_committed(path):
    child = subprocess.Popen(
        [sys.executable, "-c", _WRITE_FOREVER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdout is not None
    said = [child.stdout.readline().strip() for _ in range(50)]
    child.kill()
    said += child.stdout.read().split()
    child.wait(timeout=30)
    # A line may be cut off by the kill, but what was said whole was committed.
    whole = {invocation_id for invocation_id in said if len(invocation_id) == 36}
    with open_store(path) as store:
        connection = sqlite3.connect(path)
        kept = {row[0] for row in connection.execute("SELECT invocation_id FROM invocation")}
        counts = connection.execute(
            "SELECT count(*) FROM invocation LEFT JOIN sample USING (invocation_pk)"
            " GROUP BY invocation_pk HAVING count(*) <> 50"
        ).fetchall()
        connection.close()
        assert whole <= kept
        assert len(kept - whole) <= 1
        assert counts == []
        # The run goes on in a new process.
        store.writer.reopen_run(store.run("latest").id)


_WRITE_UNTIL_THE_DISK_IS_FULL = """
import resource, sys
from perfctl.errors import DatabaseUnavailable
from perfctl.store import open_store
from tests.unit import store_cases as cases

with open_store(sys.argv[1], create=True) as store:
    run_id = cases.begin_run(store)
    # No file may grow beyond this: to SQLite the same as a disk that takes no more.
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
    kept = 0
    try:
        while kept < 10_000:
            block_id = store.writer.begin_block(run_id, cases.block(index=kept), 1)
            store.writer.record_invocation(cases.record(block_id), cases.METRICS, cases.samples(*range(60)))
            kept += 1
    except DatabaseUnavailable as error:
        print(kept, error.message)
"""


def test_a_disk_that_takes_no_more_is_named_and_what_was_written_is_whole(path):
    done = subprocess.run(
        [sys.executable, "-c", _WRITE_UNTIL_THE_DISK_IS_FULL, str(path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=120,
    )
    kept, _, message = done.stdout.partition(" ")
    assert "disk" in message, done.stderr
    with open_store(path) as store:
        assert [look.problems for look in check(store)] == [(), (), (), ()]
        assert sum(count.invocations for count in store.run("latest").counts()) == int(kept) > 10


def test_what_a_dead_process_left_in_the_log_is_read_from_a_copy_too(filled, tmp_path):
    with open_store(filled) as store:
        store.writer.record_event(store.run("latest").id, "info", "", "still in the log")
        copy = tmp_path / "copy" / "results.db"
        copy.parent.mkdir()
        for part in filled.parent.glob("results.db*"):
            shutil.copy(part, copy.parent)
    with open_store(copy, read_only=True) as store:
        assert [event.text for event in store.run("latest").detail().events] == ["still in the log"]


def test_tables_are_strict_and_references_hold(filled):
    connection = sqlite3.connect(filled)
    connection.execute("PRAGMA foreign_keys = ON")
    with pytest.raises(sqlite3.IntegrityError, match="cannot store TEXT value in REAL column"):
        connection.execute("UPDATE sample SET value = 'fast'")
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        connection.execute("DELETE FROM block")
    tables = connection.execute("SELECT name, strict FROM pragma_table_list WHERE type = 'table'").fetchall()
    loose = {name for name, strict in tables if not strict}
    connection.close()
    assert loose == {"alembic_version", "sqlite_schema", "sqlite_temp_schema"}
    assert len(tables) > 20


def test_our_own_connections_enforce_references(filled):
    with open_store(filled) as store, pytest.raises(DataError, match="FOREIGN KEY"):
        store.writer.record_event("no such run", "info", "", "")


def test_sqlalchemy_is_imported_only_to_open_a_database_and_little_with_it(filled):
    code = (
        "import sys; from perfctl.store import open_store\n"
        "slow = ('sqlalchemy', 'sqlalchemy.orm', 'alembic', 'numpy', 'click')\n"
        "print([name for name in slow if name in sys.modules])\n"
        "with open_store(sys.argv[1]) as store: store.run('latest').observations()\n"
        "print([name for name in slow if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(filled)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split("\n") == ["[]", "['sqlalchemy']", ""]


# ---- who may read it, and what is waited for ---------------------------------------------------------------


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


def test_a_new_database_and_the_files_beside_it_are_the_users_own(path):
    old = os.umask(0o022)
    try:
        with open_store(path, create=True) as store:
            cases.begin_run(store)
            assert modes(path.parent) == dict.fromkeys(
                (f"{path.name}{end}" for end in ("", "-wal", "-shm")), 0o600
            )
        backup(path, path.with_name("copy.db"))
        assert modes(path.parent)["copy.db"] == 0o600
    finally:
        os.umask(old)


def test_a_database_that_was_opened_to_others_stays_so(filled):
    filled.chmod(0o640)
    with open_store(filled, create=True) as store:
        cases.begin_run(store)
        assert set(modes(filled.parent).values()) == {0o640}


@contextmanager
def kept_locked(path: Path) -> Iterator[None]:
    """Keep others from reading, too."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN IMMEDIATE")
    other.execute("COMMIT")
    try:
        yield
    finally:
        other.close()


@pytest.mark.parametrize("read_only", [True, False])
def test_a_lock_is_said_while_it_is_waited_for_and_then_given_up(filled, read_only, caplog, monkeypatch):
    monkeypatch.setattr(sqlite, "NOTICE_S", 0.125)
    monkeypatch.setattr(sqlite, "OPEN_TIMEOUT_S", 0.375)
    with kept_locked(filled), pytest.raises(DatabaseUnavailable, match="locked by another program"):
        open_store(filled, read_only=read_only)
    assert [record.getMessage() for record in caplog.records] == [
        f"{filled}: the database is locked by another program; waiting for it, up to 0.25 s more"
    ]


def test_a_lock_that_a_write_waits_for_is_said_once(filled, caplog, monkeypatch):
    monkeypatch.setattr(sqlite, "NOTICE_S", 0.1)
    with open_store(filled, busy_timeout_s=0.3) as store:
        with locked(filled), pytest.raises(DatabaseUnavailable, match="locked"):
            cases.begin_run(store)
        cases.begin_run(store)
    assert len(caplog.records) == 1


def test_a_path_of_any_bytes_is_a_path(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 ?#%.db"))
    with open_store(path, create=True) as store:
        cases.begin_run(store, command=["perfctl", "--db", str(path)])
    with open_store(path, read_only=True) as store:
        assert store.run("latest").detail().command[-1] == str(path)
        assert query(store, "SELECT count(*) FROM v_run").rows == ((1,),)
    backup(path, path.with_name("copy.db"))
