"""One run as one file: its rows as JSON lines, its raw outputs by their hash, a manifest, maybe a signature.

docs/transfer.md describes the parts. In them is a database with that run alone, made and read by merging.
"""

from __future__ import annotations

import base64
import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, inspect, select
from sqlalchemy import column as named_column
from sqlalchemy import table as named_table

from perfctl import __version__
from perfctl.errors import DataError, SchemaMismatch
from perfctl.store import Store, open_store, schema
from perfctl.store import tables as db
from perfctl.store.artifact import pack, unpack
from perfctl.store.migration import migrate
from perfctl.store.sqlite import connected
from perfctl.transfer.archive import MANIFEST, SIGNATURE, Archive, require_free, write_archive
from perfctl.transfer.merge import Merged, batches, merge
from perfctl.transfer.signature import check_signature, sign

FORMAT, VERSION = "perfctl bundle", 1
_ABOUT = "bundle.json"
_PART = re.compile(r"rows/(?P<table>[a-z_]+)\.jsonl|(?P<raw>raw/[0-9a-f]{64})")


def write_bundle(
    store: Store, run_id: str, path: Path, *, force: bool = False, key: Path | None = None
) -> None:
    """Write a run as one file, signed by a key if one is given.

    Raises UsageError when the file exists (unless `force`) or the key cannot sign, DataError when a raw
    output is damaged or the file cannot be written.
    """
    require_free(path, force=force)
    about = {"format": FORMAT, "version": VERSION, "schema_revision": schema.REVISION}
    about |= {"perfctl_version": __version__, "run_id": run_id, "suite": store.run(run_id).summary().suite}
    with (
        tempfile.TemporaryDirectory() as folder,
        open_store(Path(folder) / "run.db", create=True) as copy,
    ):
        merge(store, copy, runs=[run_id])
        with copy.snapshot() as connection:
            parts = _parts(connection, about)
            write_archive(path, parts, force=force, sign=None if key is None else partial(sign, key=key))


def verify_bundle(path: Path, *, signers: Path | None = None) -> Mapping[str, Any]:
    """Check every byte of a bundle, and its signature if it has one or needs one; return what it is.

    Raises DataError, which names what was changed, and SchemaMismatch for one of a newer perfctl.
    """
    with closing(Archive(path)) as archive:
        return _verified(archive, signers)


def import_bundle(
    path: Path,
    target: Store,
    *,
    signers: Path | None = None,
    dry_run: bool = False,
    show: Callable[[Merged], object] = lambda _: None,
) -> Merged:
    """Copy the run of a bundle into a database, as `merge` does, after `verify_bundle`. Raises like both."""
    with closing(Archive(path)) as archive, tempfile.TemporaryDirectory() as folder:
        about, copy_path = _verified(archive, signers), Path(folder) / "run.db"
        migrate(copy_path, target=about["schema_revision"])
        try:
            with connected(copy_path, "rw") as connection, connection.begin():
                # The driver is in autocommit mode.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                for name in archive.names:
                    if (part := _PART.fullmatch(name)) and part["table"]:
                        _load(connection, archive, part["table"], name)
        except (DataError, ValueError, KeyError, TypeError, AttributeError) as error:
            text = error.message if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
            raise DataError(f"its rows do not make a run: {text}", where=str(path)) from error
        migrate(copy_path)
        with open_store(copy_path, read_only=True) as copy:
            runs = [run.run_id for run in copy.runs()]
            if runs != [about["run_id"]]:
                raise DataError(f"it has the runs {runs}, not {about['run_id']} alone", where=str(path))
            return merge(copy, target, dry_run=dry_run, show=show)


def _parts(connection: Connection, about: Mapping[str, Any]) -> Iterator[tuple[str, Iterable[bytes]]]:
    yield _ABOUT, [json.dumps(about, indent=1).encode() + b"\n"]
    for table in db.METADATA.sorted_tables:
        yield f"rows/{table.name}.jsonl", _rows(connection, table)
    raw = select(db.artifact).order_by(db.artifact.c.sha256).execution_options(yield_per=1)
    for sha256, size_bytes, content in connection.execute(raw):
        # One that was pruned has a row and no content.
        if content:
            yield f"raw/{sha256}", [unpack(sha256, size_bytes, content)]


def _rows(connection: Connection, table: Any) -> Iterator[bytes]:
    """Yield the rows of a table in their order, as lines; raw outputs are parts of their own."""
    columns = [column for column in table.columns if column.name not in ("rowid", "content")]
    order = [table.c.rowid] if "rowid" in table.c else list(table.primary_key.columns)
    statement = select(*columns).order_by(*order).execution_options(yield_per=1000)
    for row in connection.execute(statement).mappings():
        yield json.dumps(dict(row), sort_keys=True, separators=(",", ":"), default=_object).encode() + b"\n"


def _object(content: bytes) -> dict[str, str]:
    """Return what stands for bytes; no other value of a row is an object."""
    return {"base64": base64.b64encode(content).decode()}


def _load(connection: Connection, archive: Archive, table: str, part: str) -> None:
    """Store the rows of a part in the table of that name."""
    known = {column["name"] for column in inspect(connection).get_columns(table)}
    # Rows of one part have the same columns, all of them.
    statement = insert(named_table(table, *map(named_column, known)))
    for rows in batches(map(json.loads, archive.lines(part))):
        for row in rows:
            for name, item in row.items():
                if isinstance(item, dict):
                    row[name] = base64.b64decode(item["base64"], validate=True)
            if table == db.artifact.name:
                row["content"] = _raw(archive, row)
            if differing := row.keys() ^ known:
                raise ValueError(f"{table} has not the columns {', '.join(sorted(differing))}")
        connection.execute(statement, rows)


def _raw(archive: Archive, row: Mapping[str, Any]) -> bytes:
    """Return the content of an artifact as the database keeps it; b'' for one that was pruned."""
    name = f"raw/{row['sha256']}"
    if name not in archive.names:
        return b""
    packed = pack(archive.content(name))
    if packed is None or (packed.sha256, packed.size_bytes) != (row["sha256"], row["size_bytes"]):
        raise ValueError(f"{name} is not the raw output of its row")
    return packed.content


def _verified(archive: Archive, signers: Path | None) -> dict[str, Any]:
    where = str(archive.path)
    problems = archive.problems() or [
        f"{name} is no part of a bundle"
        for name in archive.names
        if name not in (_ABOUT, MANIFEST, SIGNATURE) and not _PART.fullmatch(name)
    ]
    if problems:
        raise DataError(
            f"the bundle is not as it was written: {'; '.join(problems[:3])}",
            where=where,
            hint="copy it once more from where it was written; nothing of it was used",
        )
    about = _about(archive, where)
    signature = None
    if SIGNATURE in archive.names:
        signature = check_signature(archive.content(MANIFEST), archive.content(SIGNATURE), signers)
    elif signers is not None:
        raise DataError("nobody has signed the bundle", where=where, hint="`perfctl bundle --sign KEY` does")
    raw = sum(name.startswith("raw/") for name in archive.names)
    return about | {"raw_outputs": raw, "signature": signature}


def _about(archive: Archive, where: str) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads(archive.content(_ABOUT))
        if about["format"] != FORMAT:
            raise ValueError(f"its format is {about['format']!r:.40}")
        version, revision = int(about["version"]), int(about["schema_revision"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"this is no bundle of perfctl: {error}", where=where) from error
    if version > VERSION or revision > int(schema.REVISION):
        text = f"it has version {version} and schema {revision:04}; this perfctl knows {VERSION} and "
        raise SchemaMismatch(text + schema.REVISION, where=where, hint="upgrade perfctl")
    return about
