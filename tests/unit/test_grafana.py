"""docs/grafana/perfctl.json: every query of the dashboard, against a database that perfctl wrote."""

from __future__ import annotations

import json
import sqlite3
import statistics
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from perfctl.model import Observation
from perfctl.store import open_store
from tests.unit.report_cases import Fleet, add_fleet

BOARD: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "docs" / "grafana" / "perfctl.json").read_text()
)
FLEETS = [
    Fleet(
        hosts=("h1", "h'2"),
        benchmarks=("http", "tcp-rr"),
        environments=("native", "container", "gvisor"),
        blocks=blocks,
        seed=seed,
        start_s=1_700_000_000.0 + 1e6 * seed,
        invalid=(("container", 1),),
        failed=(("gvisor", 2),),
        has_latencies=False,
    )
    for seed, blocks in ((1, 5), (2, 6))
]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("grafana") / "results.db"
    with open_store(path, create=True) as store:
        for fleet in FLEETS:
            add_fleet(store, fleet)
    with closing(sqlite3.connect(path)) as connection, connection:
        # Two runs of one second would be one point of time.
        connection.execute("UPDATE run SET started_at = 1.7e9 + 86400 * rowid")
    return path


def rows(database: Path, sql: str, chosen: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the answer of SQLite alone, as Grafana's data source gets it: no function of ours is there."""
    for name, value in chosen.items():
        sql = sql.replace(f"${{{name}:sqlstring}}", value).replace(f"${name}", value)
    assert "$" not in sql, "a variable that the dashboard does not have"
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(sql)]


@pytest.fixture(scope="module")
def chosen(database: Path) -> dict[str, str]:
    """What a user sees who opens the dashboard: the first of each variable, and all hosts."""
    found: dict[str, str] = {}
    for item in BOARD["templating"]["list"]:
        if item["type"] != "query":
            continue
        values = [str(next(iter(row.values()))) for row in rows(database, item["query"], found)]
        quoted = ",".join("'" + value.replace("'", "''") + "'" for value in values)
        found[item["name"]] = quoted if item["multi"] else values[0]
    return found


def answer(database: Path, chosen: Mapping[str, str], title: str) -> list[dict[str, Any]]:
    (panel,) = (panel for panel in BOARD["panels"] if panel["title"].startswith(title))
    (target,) = panel["targets"]
    return rows(database, target["rawQueryText"], chosen)


def test_the_variables_offer_what_was_measured(chosen: dict[str, str]) -> None:
    assert chosen == {
        "suite": "fleet",
        "benchmark": "http",
        "metric": "transactions_per_second",
        "host": "'h''2','h1'",
    }


def test_every_panel_has_an_answer_and_lies_in_the_grid(database: Path, chosen: dict[str, str]) -> None:
    for panel in BOARD["panels"]:
        (target,) = panel["targets"]
        found = rows(database, target["rawQueryText"], chosen)
        assert found, panel["title"]
        assert target["queryText"] == target["rawQueryText"]
        assert set(target["timeColumns"]) <= set(found[0]), panel["title"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


def test_costs_are_the_medians_of_the_pairs(database: Path, chosen: dict[str, str]) -> None:
    with open_store(database, read_only=True) as store:
        runs = [(int(run.started_at), store.run(run.run_id).observations()) for run in store.runs()]
    expected = {
        (started, environment): statistics.median(ratios)
        for started, seen in runs
        for environment, ratios in paired_ratios(seen).items()
    }
    found = {(row["time"], row["environment"]): row["ratio"] for row in answer(database, chosen, "Cost")}
    assert found == pytest.approx(expected)
    assert len(found) == 4 and all(ratio > 1 for (_, name), ratio in found.items() if name == "gvisor")


def paired_ratios(seen: list[Observation]) -> dict[str, list[float]]:
    """Return environment -> baseline / environment in each block, of a rate: above 1 is worse."""
    used = [item for item in seen if item.benchmark == "http" and item.validity != "invalid"]
    native = {
        (item.target, item.block): item.value
        for item in used
        if item.environment == "native" and item.replicate == 1
    }
    found = defaultdict(list)
    for item in used:
        if item.environment != "native":
            found[item.environment].append(native[item.target, item.block] / item.value)
    return found


def test_levels_are_the_medians_of_each_host(database: Path, chosen: dict[str, str]) -> None:
    with open_store(database, read_only=True) as store:
        values = defaultdict(list)
        for run in store.runs():
            for item in store.run(run.run_id).observations():
                if (item.benchmark, item.environment, item.replicate) == ("http", "native", 1):
                    values[int(run.started_at), item.target.host].append(item.value)
    found = {(row["time"], row["host"]): row["value"] for row in answer(database, chosen, "Level")}
    assert found == pytest.approx({place: statistics.median(several) for place, several in values.items()})


def test_tables_count_what_was_judged_and_what_failed(database: Path, chosen: dict[str, str]) -> None:
    findings = answer(database, chosen, "What the rules")
    assert [(row["rule"], row["severity"], row["environment"], row["invocations"]) for row in findings] == [
        ("steal", "invalid", "container", 2 * 2 * 2)
    ]
    failures = answer(database, chosen, "What did not")
    assert {(row["host"], row["benchmark"], row["reason"], row["invocations"]) for row in failures} == {
        (host, name, "timeout", 1) for host in ("h1", "h'2") for name in ("http", "tcp-rr")
    }
    assert len(answer(database, chosen, "Runs")) == 2
    # The newest run: 6 blocks x 4 legs x 2 hosts without the invalid and the failed ones.
    assert len(answer(database, chosen, "Every value")) == 2 * (6 * 4 - 2)
