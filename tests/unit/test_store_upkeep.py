"""Looking after a database: info, check, backup, upgrade, and derived rows made again."""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from perfctl.errors import DatabaseUnavailable, DataError, SchemaMismatch
from perfctl.model import ResourceUsage
from perfctl.store import (
    backup,
    check,
    database_info,
    open_store,
    query,
    schema,
    series,
    sqlite,
    tables,
    upgrade,
)
from perfctl.store.migration import MIGRATIONS, migrate
from tests.unit import store_cases as cases

DATA = Path(__file__).parents[1] / "data" / "database"


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A closed database with a run of one complete block: three values as rows, and a packed series."""
    path = tmp_path / "results.db"
    with open_store(path, create=True) as store:
        run_id = cases.begin_run(store)
        values = {("native", 1): 100.0, ("native", 2): 101.0, ("container", 1): 90.0}
        cases.measure_block(store, run_id, cases.block(), values)
        block_id = store.writer.begin_block(run_id, cases.block(index=1), 1)
        noise = random.Random(1)
        long = cases.samples(*(noise.uniform(0, 1) for _ in range(300)), metric=cases.LATENCY, warmups=7)
        guest = cases.record(
            block_id, accelerator="kvm", artifacts={"console": b"perfctl: ssh\n", "empty": b""}
        )
        store.writer.record_invocation(guest, cases.METRICS, long)
        store.writer.end_block(block_id, "complete")
        store.writer.end_run(run_id, "complete")
    return path


def change(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def dump(path: Path) -> dict[str, list[tuple[object, ...]]]:
    connection = sqlite3.connect(path)
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    content = {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in names}
    connection.close()
    return content


def problems(path: Path) -> dict[str, list[str]]:
    with open_store(path, read_only=True) as store:
        return {look.name: list(look.problems) for look in check(store) if look.problems}


def test_info_counts_rows_and_names_the_schema(filled):
    info = database_info(filled)
    assert (info.revision, info.newest_revision, info.integrity) == (schema.REVISION, schema.REVISION, "ok")
    assert (info.rows["run"], info.rows["invocation"], info.rows["sample"], info.rows["series"]) == (
        1,
        4,
        3,
        1,
    )
    assert info.size_bytes >= filled.stat().st_size


@pytest.mark.parametrize("look", [database_info, upgrade])
def test_looking_after_nothing_is_refused(tmp_path, look):
    with pytest.raises(DatabaseUnavailable, match="no database yet"):
        look(tmp_path / "results.db")
    (tmp_path / "results.db").touch()
    with pytest.raises(DatabaseUnavailable, match="empty"):
        look(tmp_path / "results.db")


def test_a_sound_database_has_no_problems(filled):
    assert problems(filled) == {}


@pytest.mark.parametrize(
    ("statement", "name", "words"),
    [
        ("UPDATE invocation_metric SET value = value + 1", "derived rows", "differs from its samples"),
        ("DELETE FROM invocation_metric", "derived rows", "no derived row"),
        ("DELETE FROM sample", "derived rows", "without samples"),
        ("UPDATE series SET packed = substr(packed, 1, 16)", "derived rows", "2 values instead of 300"),
        ("UPDATE series SET packed = substr(packed, 1, 17)", "derived rows", "cut off"),
        ("UPDATE artifact SET content = x'00'", "raw outputs", "cannot be unpacked"),
        ("UPDATE artifact SET size_bytes = 1", "raw outputs", "damaged"),
        ("DELETE FROM artifact", "references", "refers to a row of artifact"),
        (
            "DELETE FROM artifact WHERE size_bytes = 13",
            "references",
            "row None of invocation_artifact refers",
        ),
        ("DELETE FROM invocation_artifact", "raw outputs", "belongs to no invocation"),
        ("UPDATE invocation SET counters_after_sha256 = NULL", "raw outputs", "belongs to no invocation"),
    ],
)
def test_what_is_wrong_is_found_and_named(filled, statement, name, words):
    change(filled, "PRAGMA foreign_keys = OFF", statement)
    found = problems(filled)
    assert words in found[name][0]


def test_an_exchanged_raw_output_is_found_by_its_hash(filled):
    change(
        filled,
        "UPDATE artifact SET (size_bytes, content) ="
        " (SELECT size_bytes, content FROM artifact AS other WHERE other.sha256 <> artifact.sha256)",
    )
    assert "another hash" in problems(filled)["raw outputs"][0]


def test_derived_rows_are_rebuilt_exactly(filled):
    before = dump(filled)
    change(
        filled, "DELETE FROM invocation_metric WHERE metric_pk = 2", "UPDATE invocation_metric SET value = 0"
    )
    with open_store(filled) as store:
        assert store.writer.rebuild_derived() == 4
    assert dump(filled) == before
    assert problems(filled) == {}


def test_packed_values_come_back_bit_by_bit():
    noise = random.Random(2)
    values = [noise.lognormvariate(0, 20) for _ in range(1000)] + [0.0, -0.0, 5e-324, 1.7e308]
    blob = series.pack(values)
    assert [value.hex() for value in series.unpack(blob)] == [value.hex() for value in values]
    # Little-endian IEEE 754, whatever this machine is.
    assert series.pack([1.0, -2.0]).hex() == "000000000000f03f00000000000000c0"


def test_a_backup_holds_everything_also_what_is_still_in_the_log(filled, tmp_path):
    copy = tmp_path / "copy.db"
    with open_store(filled) as store:
        store.writer.record_event(store.run("latest").id, "info", "", "in the log")
        backup(filled, copy)
        assert dump(copy) == dump(filled)
    assert sorted(path.name for path in tmp_path.glob("copy*")) == ["copy.db"]
    assert problems(copy) == {}


def test_a_backup_overwrites_nothing(filled, tmp_path):
    copy = tmp_path / "copy.db"
    copy.write_text("precious")
    with pytest.raises(DatabaseUnavailable, match="never overwrites"):
        backup(filled, copy)
    assert copy.read_text() == "precious"
    with pytest.raises(DatabaseUnavailable, match="does not exist"):
        backup(filled, tmp_path / "typo" / "copy.db")


def test_a_backup_of_a_damaged_or_foreign_file_leaves_nothing_behind(tmp_path):
    path = tmp_path / "results.db"
    path.write_bytes(b"no database" * 100)
    with pytest.raises(DatabaseUnavailable, match="not an SQLite database"):
        backup(path, tmp_path / "copy.db")
    assert list(tmp_path.glob("copy*")) == []


def structure(path: Path) -> dict[str, object]:
    """Return everything about the tables that matters, however their SQL is written."""
    connection = sqlite3.connect(path)
    found: dict[str, object] = {}
    for name, strict, without_rowid in connection.execute(
        "SELECT name, strict, wr FROM pragma_table_list WHERE type = 'table' AND schema = 'main'"
    ).fetchall():
        sql = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).fetchone()
        indexes = connection.execute(f'PRAGMA index_list("{name}")').fetchall()
        found[name] = {
            "kind": (strict, without_rowid),
            "columns": connection.execute(f'PRAGMA table_xinfo("{name}")').fetchall(),
            "references": sorted(
                row[2:] for row in connection.execute(f'PRAGMA foreign_key_list("{name}")').fetchall()
            ),
            "indexes": sorted(
                (row[2], row[3], connection.execute(f'PRAGMA index_info("{row[1]}")').fetchall())
                for row in indexes
            ),
            "checks": sorted(re.findall(r"CHECK ?\((.*)\)", sql[0])) if sql else [],
        }
    connection.close()
    return found


def test_a_created_database_a_migrated_one_and_the_typed_tables_are_the_same(tmp_path):
    created, migrated, typed = (tmp_path / f"{name}.db" for name in ("created", "migrated", "typed"))
    open_store(created, create=True).close()
    migrate(migrated)
    with sqlite.connected(typed, "rwc") as connection:
        tables.METADATA.create_all(connection)
    wanted = structure(created)
    assert structure(migrated) == wanted
    wanted.pop("alembic_version")
    assert structure(typed) == wanted
    assert len(wanted) >= 20


def test_a_migrated_database_has_the_same_views(tmp_path):
    created, migrated = tmp_path / "created.db", tmp_path / "migrated.db"
    open_store(created, create=True).close()
    migrate(migrated)
    views = "SELECT name, sql FROM sqlite_master WHERE type = 'view' ORDER BY name"
    answers = []
    for path in (created, migrated):
        connection = sqlite3.connect(path)
        answers.append(connection.execute(views).fetchall())
        connection.close()
    assert answers[0] == answers[1]
    with open_store(migrated) as store:
        assert store.runs() == []


def test_the_newest_migration_is_the_programs_revision():
    names = sorted(path.stem for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))
    assert names[-1].partition("_")[0] == schema.REVISION


NEXT = f"{int(schema.REVISION) + 1:04}"
NEXT_MIGRATION = '''
import sqlalchemy as sa
from alembic import op

revision = "NEXT"
down_revision = "CURRENT"
branch_labels = None
depends_on = None


def upgrade():
    """Rebuild tables that others refer to: the case in which batch mode loses rows."""
    with op.batch_alter_table("run", recreate="always", table_kwargs={"sqlite_strict": True}) as run:
        run.add_column(sa.Column("note", sa.TEXT(), nullable=True))
    with op.batch_alter_table("invocation", recreate="always", table_kwargs={"sqlite_strict": True}) as table:
        table.add_column(sa.Column("weight", sa.REAL(), nullable=True))
    EXTRA
'''


@pytest.fixture
def next_scripts(tmp_path):
    """Return a function that makes a migrations folder with one more migration in it."""

    def make(extra: str = "pass") -> Path:
        scripts: Path = tmp_path / "migrations"
        script = NEXT_MIGRATION.replace("EXTRA", extra)
        script = script.replace("NEXT", NEXT).replace("CURRENT", schema.REVISION)
        shutil.copytree(MIGRATIONS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
        (scripts / "versions" / f"{NEXT}_next.py").write_text(script)
        return scripts

    return make


def test_a_migration_that_rebuilds_parents_keeps_every_row(filled, next_scripts):
    before = dump(filled)
    migrate(filled, scripts=next_scripts())
    after = dump(filled)
    assert after["alembic_version"] == [(NEXT,)]
    assert [row[:-1] for row in after["run"]] == before["run"]
    assert [row[:-1] for row in after["invocation"]] == before["invocation"]
    for name in before.keys() - {"alembic_version", "run", "invocation"}:
        assert after[name] == before[name], name
    connection = sqlite3.connect(filled)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert connection.execute("SELECT count(*) FROM v_value").fetchone() == (4,)
    assert connection.execute("SELECT strict FROM pragma_table_list WHERE name = 'run'").fetchone() == (1,)
    connection.close()


@pytest.mark.parametrize(
    ("extra", "error"),
    [
        ("op.execute('DELETE FROM block')", DataError),
        ("op.execute('DELETE FROM block; nonsense')", Exception),
        ("raise RuntimeError('power cut')", RuntimeError),
    ],
)
def test_a_migration_that_fails_changes_nothing(filled, next_scripts, extra, error):
    before = dump(filled)
    with pytest.raises(error):
        migrate(filled, scripts=next_scripts(extra))
    assert dump(filled) == before
    with open_store(filled) as store:
        assert len(store.run("latest").observations()) == 4


def test_upgrade_makes_a_backup_first(filled, next_scripts, monkeypatch):
    scripts = next_scripts()
    before = dump(filled)
    current = schema.REVISION
    monkeypatch.setattr(schema, "REVISION", NEXT)
    monkeypatch.setattr("perfctl.store.migration.MIGRATIONS", scripts)
    with pytest.raises(SchemaMismatch, match=current):
        open_store(filled)
    done = upgrade(filled)
    assert (done.before, done.after) == (current, NEXT)
    assert done.backup is not None
    assert dump(done.backup) == before
    assert dump(filled)["alembic_version"] == [(NEXT,)]
    assert upgrade(filled).backup is None


@pytest.fixture
def of_0001(tmp_path):
    """A database as the first schema's perfctl left it: three blocks, a failure, facts, an event, a lease."""
    path: Path = tmp_path / "old.db"
    connection = sqlite3.connect(path)
    connection.executescript((DATA / "0001.sql").read_text())
    connection.close()
    return path


def test_a_populated_database_of_the_first_schema_keeps_every_row(of_0001):
    before = dump(of_0001)
    assert {
        name: len(rows) for name, rows in before.items() if name in ("invocation", "sample", "series")
    } == {
        "invocation": 8,
        "sample": 6,
        "series": 1,
    }
    assert all(before.values()), "every table of the old file has rows"
    with pytest.raises(SchemaMismatch, match="0001") as refused:
        open_store(of_0001, read_only=True)
    assert "perfctl db upgrade" in (refused.value.hint or "")
    done = upgrade(of_0001)
    assert (done.before, done.after) == ("0001", schema.REVISION)
    assert done.backup is not None and dump(done.backup) == before
    after = dump(of_0001)
    assert after.pop("alembic_version") == [(schema.REVISION,)]
    assert [after.pop(name) for name in ("invocation_artifact", "tombstone", "shard")] == [[], [], []]
    assert after.pop("invocation") == [(*row, *[None] * 15) for row in before.pop("invocation")]
    assert after.pop("benchmark") == [(*row, None) for row in before.pop("benchmark")]
    assert after.pop("run") == [(*row, None) for row in before.pop("run")]
    assert after.pop("metric") == [(*row, 0) for row in before.pop("metric")]
    before.pop("alembic_version")
    # Who may measure a host is known on the host itself.
    assert len(before.pop("lease")) == 1
    # A host's key has its machine (test_store_machines.py), which these facts do not say.
    names = {row[0]: row[1] for content in (before, after) for row in content["host"]}
    before["host"] = [(*row, None) for row in before["host"]]
    for content in (before, after):
        for name, found in content.items():
            content[name] = sorted((tuple(names.get(item, item) for item in row) for row in found), key=repr)
    assert after == before


def test_what_commands_used_is_kept_in_a_database_of_the_schema_before(of_0001):
    migrate(of_0001, target="0007")
    before = dump(of_0001)
    assert (upgrade(of_0001).before, len(before["invocation"])) == ("0007", 8)
    after = dump(of_0001)
    assert after["invocation"] == [(*row, *[None] * 10) for row in before["invocation"]]
    used = ResourceUsage(1.5, 0.25, 1 << 20, 70, 0, 2, 1, wall_s=1.75)
    of_group = replace(ResourceUsage.unknown("a control group"), user_s=2.0, system_s=0.0, source="cgroup")
    with open_store(of_0001) as store:
        old = query(store, "SELECT invocation_id FROM v_invocation WHERE user_s IS NULL").rows
        assert len(old) == 8
        assert store.run("latest").invocation(str(old[0][0])).usage == ResourceUsage.unknown("")
        block_id = store.writer.begin_block(store.run("latest").id, cases.block(index=5), 1)
        for usage, replicate in ((used, 1), (of_group, 2)):
            record = cases.record(block_id, replicate=replicate, usage=usage)
            store.writer.record_invocation(record, cases.METRICS, cases.samples(1.0))
            assert store.run("latest").invocation(record.id).usage == usage
    assert problems(of_0001) == {}


@pytest.mark.parametrize(
    "change_to", ["user_s = -0.5", "minor_faults = -1", "wall_s = -1.0", "usage_source = 'guess'"]
)
def test_a_usage_that_cannot_be_is_refused(filled, change_to):
    with pytest.raises(sqlite3.IntegrityError, match=change_to.split()[0]):
        change(filled, f"UPDATE invocation SET {change_to}")


def test_an_upgraded_database_is_one_like_any_other(of_0001, tmp_path):
    upgrade(of_0001)
    assert problems(of_0001) == {}
    created = tmp_path / "created.db"
    open_store(created, create=True).close()
    assert structure(of_0001) == structure(created)
    with open_store(of_0001) as store:
        assert [item.value for item in store.run("latest").observations()][:3] == [90.0, 100.0, 101.0]
        assert {item.accelerator for item in store.run("latest").observations()} == {None}
        counting = query(store, "SELECT status, attempt_counts FROM v_block ORDER BY block_id").rows
        assert counting == (("complete", 1), ("complete", 1), ("failed", 1))
        block_id = store.writer.begin_block(store.run("latest").id, cases.block(index=5), 1)
        guest = cases.record(block_id, accelerator="tcg", artifacts={"console": b"perfctl: ssh\n"})
        store.writer.record_invocation(guest, cases.METRICS, cases.samples(1.0))
    assert problems(of_0001) == {}


def test_upgrade_refuses_a_newer_database(filled):
    change(filled, "UPDATE alembic_version SET version_num = '0777'")
    with pytest.raises(SchemaMismatch, match="0777"):
        upgrade(filled)
    assert sorted(path.name for path in filled.parent.glob("*.bak")) == []
