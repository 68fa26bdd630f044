"""`perfctl explore`: what Datasette is told of the database, and how it is started."""

from __future__ import annotations

import json
import os
import runpy
import sqlite3
import subprocess
import sys
import types
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from perfctl.cli import main_group
from perfctl.errors import UsageError
from perfctl.render.explore import PLUGINS, VIEWS, metadata
from perfctl.store import open_store, query
from tests.unit.history_cases import add_run

FAKE = """import json, sys
print(json.dumps({"arguments": sys.argv[1:], "metadata": json.load(sys.stdin)}))
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "results.db"
    with open_store(path, create=True) as store:
        add_run(store)
    return path


def test_the_views_are_described_and_have_their_facets(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'view'")}
        assert names == VIEWS.keys()
        for view, (_, facets) in VIEWS.items():
            columns = {row[1] for row in connection.execute(f"PRAGMA table_info({view})")}
            assert columns >= set(facets), view


def test_its_queries_are_those_of_perfctl_and_tables_are_hidden(database: Path) -> None:
    with open_store(database, read_only=True) as store:
        (found,) = metadata(store)["databases"].values()
        for item in found["queries"].values():
            assert query(store, item["sql"]).columns
    assert found["queries"]["overhead"]["params"] == ["all_metrics"]
    assert found["tables"]["invocation"] == {"hidden": True} and "hidden" not in found["tables"]["v_value"]


def test_without_datasette_the_command_that_installs_it_is_shown(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = CliRunner().invoke(main_group, ["--db", str(database), "explore"])
    assert isinstance(done.exception, UsageError)
    assert done.exception.hint == "pip install 'perfctl[explore]'"


def test_datasette_gets_the_database_and_its_metadata_by_a_pipe(database: Path, tmp_path: Path) -> None:
    package = tmp_path / "packages" / "datasette"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(FAKE)
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [str(package.parent), root, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "perfctl", "--db", str(database), "explore", "--port", "8123"],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["arguments"][:2] == ["serve", str(database)]
    assert "127.0.0.1" in told["arguments"] and "8123" in told["arguments"]
    assert "v_value" in told["metadata"]["databases"]["results"]["tables"]


def test_its_plugin_has_the_median_of_perfctl(monkeypatch: pytest.MonkeyPatch) -> None:
    datasette = types.ModuleType("datasette")
    datasette.hookimpl = lambda function: function  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasette", datasette)
    plugin = runpy.run_path(str(PLUGINS / "median.py"))
    with closing(sqlite3.connect(":memory:")) as connection:
        plugin["prepare_connection"](connection)
        sql = "WITH t(x) AS (VALUES (1), (NULL), (3), (10), (4)) SELECT median(x), median(NULL) FROM t"
        assert connection.execute(sql).fetchone() == (3.5, None)
