"""`perfctl report`: one HTML file that needs nothing else and says what `perfctl compare` says."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from perfctl.cli import main_group
from perfctl.errors import UnknownName, UsageError
from perfctl.render.figures import value_text
from perfctl.render.files import write_new
from perfctl.render.html import run_page
from perfctl.report.document import RunDocument, run_document
from perfctl.store import backup, open_store
from tests.unit import store_cases as cases
from tests.unit.history_cases import add_run
from tests.unit.report_cases import Fleet, add_fleet
from tests.unit.report_pages import Page, rows_of

FLEET = Fleet(
    hosts=("h1", "h2", "h3", "h4", "h5"),
    benchmarks=("tcp-rr", "http"),
    environments=("native", "container", "hostnet", "gvisor"),
    blocks=8,
    slower={"h4": 1.1},
    facts={"h4": {"cpu.freq.governor": "powersave: 0-7"}},
    inside={"h2": {"tool.netperf.version": "Netperf 2.6.0"}},
    invalid=(("container", 3),),
    failed=(("gvisor", 5),),
)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fleet") / "results.db"
    with open_store(path, create=True) as store:
        add_fleet(store, FLEET)
    return path


@pytest.fixture(scope="module")
def document(database: Path) -> RunDocument:
    with open_store(database, read_only=True) as store:
        return run_document(store, "latest")


@pytest.fixture(scope="module")
def page(document: RunDocument) -> Page:
    return Page(run_page(document))


def perfctl(database: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main_group, ["--db", str(database), *arguments])


def page_of(database: Path, *arguments: str) -> Page:
    """Return the page that the command writes."""
    output = database.parent / "report.html"
    done = perfctl(database, "report", *(arguments or ("latest",)), "-o", str(output), "--force")
    assert done.exit_code == 0, done.output
    return Page(output.read_text(encoding="utf-8"))


# ---- it needs nothing else ---------------------------------------------------------------------------------


def test_the_policy_allows_its_own_style_and_script_and_nothing_else(page: Page) -> None:
    (policy,) = [item.get("content") for item in page.all("meta") if item.get("http-equiv")]
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert allowed["default-src"] == allowed["base-uri"] == allowed["form-action"] == "'none'"
    for directive, tag in (("style-src", "style"), ("script-src", "script")):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page.source, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert allowed[directive] == f"'sha256-{digest}'"
    assert set(allowed) == {"default-src", "style-src", "script-src", "base-uri", "form-action"}


def test_it_refers_to_nothing_outside_of_itself(page: Page) -> None:
    ids = [item.get("id") for item in page.elements if item.get("id")]
    assert len(ids) == len(set(ids))
    for item in page.elements:
        assert not {"src", "srcset", "action", "xlink:href", "style", "background"} & set(item.attributes)
        assert not [name for name in item.attributes if name.startswith("on")]
        if "href" in item.attributes:
            assert item.get("href").startswith("#") and item.get("href")[1:] in ids
    assert not {item.tag for item in page.elements} & {
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
    }
    assert not re.search(r"url\(|@import|https?:", page.source)


def test_every_chart_has_a_name_and_a_table_behind_it(page: Page) -> None:
    charts = [item for item in page.all("svg") if item.get("role") == "img"]
    figures = page.all("figure")
    assert len(charts) == len(figures) == 2 * 5 * 4, "blocks, ECDF, order and percentiles of 10 targets"
    for chart in charts:
        assert chart.get("aria-label")
        table = page.by_id(chart.get("aria-details"))
        assert table.tag == "table" and rows_of(table)
    hidden = [item for item in page.all("svg") if item.get("role") != "img"]
    assert all(item.get("aria-hidden") == "true" for item in hidden)
    assert all(item.one("figcaption").text for item in figures)


def test_its_parts_can_be_reached_by_keyboard_and_have_headings(page: Page) -> None:
    sections = page.all("section")
    assert [item.get("id") for item in sections] == [
        *("answer", "costs", "b1", "b2", "trust", "hosts", "left-out", "reproduce")
    ]
    for section in sections:
        assert page.by_id(section.get("aria-labelledby")).tag == "h2"
    linked = [item.get("href") for item in page.root.one("nav").all("a")]
    assert linked == [f"#{item.get('id')}" for item in sections]
    assert len(page.all("h1")) == 1 and page.all("html")[0].get("lang") == "en"
    assert all(table.all("caption")[0].text for table in page.all("table"))


def test_its_script_is_small_and_the_page_is_whole_without_it(page: Page) -> None:
    (script,) = page.all("script")
    assert 0 < len(script.text) < 20_000
    assert not re.search(
        r"innerHTML|insertAdjacentHTML|document\.write|eval|new Function|fetch|XMLHttp", script.text
    )
    shown_by_script = [item for item in page.elements if "hidden" in item.attributes]
    assert {item.get("id") or item.get("class") for item in shown_by_script} == {"tip", "controls"}


# ---- it says what compare says -----------------------------------------------------------------------------


def test_its_figures_are_those_of_compare(database: Path, page: Page) -> None:
    records = json.loads(perfctl(database, "compare", "latest", "--format", "json").stdout)["rows"]
    found = {
        (item["level"], item["benchmark"], item["target"], item["environment"]): item
        for item in records
        if item["level"] in ("host", "fleet") and not item["is_aa"]
    }
    shown = {}
    for number, benchmark in enumerate(FLEET.benchmarks, 1):
        for table in page.by_id(f"b{number}").all("table"):
            if "figures" not in table.classes:
                continue
            for row in rows_of(table):
                target = row["target"].text
                level = "fleet" if target.endswith(" hosts") else "host"
                shown[level, benchmark, target, row["environment"].text] = row
    assert shown.keys() == found.keys()
    for key, item in found.items():
        row = shown[key]
        assert row["verdict"].text == item["verdict"]
        for name, field in (("ratio", "ratio"), ("95 % CI", "low"), ("q", "q")):
            assert float(row[name].get("data-value")) == pytest.approx(item[field], rel=1e-6)
        for name, field in (("native", "baseline_value"), ("value", "value")):
            assert row[name].text == value_text(item[field])
        words = item["words"]
        assert row["ratio"].text in words and row["95 % CI"].text in words


CLASSES = {
    "different": "v-different",
    "different, small": "v-small",
    "equivalent": "v-equivalent",
    "inconclusive": "v-inconclusive",
}


def test_the_forest_plot_has_the_lines_over_all_hosts_with_the_largest_cost_first(page: Page) -> None:
    near, far = (rows_of(page.by_id(name)) for name in ("forest", "forest-far"))
    assert [row["environment"].text for row in far] == ["gvisor", "gvisor"]
    costs = [1 / float(row["ratio"].get("data-value")) for row in near]
    assert costs == sorted(costs, reverse=True) and len(costs) == 4
    assert {row["hosts"].text for row in near} == {"5 hosts"}
    for row in [*near, *far]:
        drawn = row["plot"].one("svg")
        classes = [item.classes for item in drawn.children]
        assert classes == [["margin"], ["one"], ["interval"], ["end"], ["mark"]]
    rows = [row for name in ("forest", "forest-far") for row in page.by_id(name).one("tbody").all("tr")]
    assert [row.classes for row in rows] == [[CLASSES[row["verdict"].text]] for row in [*near, *far]]


def test_the_answer_is_three_sentences_made_of_the_verdicts(page: Page) -> None:
    sentences = [item.text for item in page.of_class("answer")]
    assert len(sentences) == 3
    verdicts = [row["verdict"].text for name in ("forest", "forest-far") for row in rows_of(page.by_id(name))]
    assert sentences[0].startswith(f"6 comparisons: {verdicts.count('different')} different, ")
    assert "gvisor" in sentences[1] and "5 hosts" in sentences[1] and "its hosts differ" in sentences[1]
    assert re.search(r"\d of 10 tests of the baseline against itself", sentences[2])


def test_every_block_is_in_a_table_and_what_is_invalid_or_failed_is_marked(page: Page) -> None:
    rows = rows_of(page.by_id("b1-1-t"))
    assert [row["block"].text for row in rows] == [str(index) for index in range(8)]
    assert rows[3]["container"].text.endswith(" x") and rows[3]["container (%)"].text == "—"
    assert rows[5]["gvisor"].text == "timeout" and rows[5]["gvisor (%)"].text == "—"
    assert float(rows[0]["gvisor (%)"].text) < -50
    section = page.by_id("b1")
    crosses = [item for item in section.all("path") if item.classes == ["invalid"] and item.get("data-leg")]
    assert {item.get("data-leg") for item in crosses} == {"container"}
    assert {item.get("data-blocks") for item in crosses} == {"3"}
    states = " ".join(item.text for item in section.all("details"))
    assert "steal: 7 % of the time was taken by others" in states and "it took 16 s" in states


def test_hosts_are_told_apart_by_what_most_others_do_not_have(page: Page) -> None:
    tables = {table.one("caption").text: table for table in page.by_id("hosts").all("table")}
    (row,) = rows_of(tables["What differs among the hosts"])
    assert row["fact"].text == "cpu.freq.governor"
    assert row["most hosts"].text == "performance: 0-7"
    assert row["others"].text == "powersave: 0-7 (h4)"
    assert "Example 9000" in page.text_of("hosts")


def test_it_says_how_to_reproduce_it_and_what_was_left_out(page: Page) -> None:
    text = page.text_of("reproduce")
    assert "perfctl run --suite demo" in text
    named = {row["what"].text: row["value"].text for row in rows_of(page.by_id("reproduce").all("table")[0])}
    assert (
        named["seed"] == "42"
        and named["perfctl"] == "0.1.0"
        and named["benchmark http"].startswith("netperf")
    )
    made_of = [
        {name: cell.text for name, cell in row.items()}
        for row in rows_of(page.by_id("reproduce").all("table")[1])
    ]
    inside = {(row["environment"], row["fact"]): (row["value"], row["other hosts"]) for row in made_of}
    assert inside["gvisor", "tool.netperf.version"] == ("Netperf 2.7.0", "Netperf 2.6.0 (h2)")
    value, others = inside["container", "image.id"]
    assert value.startswith("sha256:aaaa") and others == "none"
    assert ("native", "image.id") not in inside
    assert "gvisor" in page.text_of("left-out") and "timeout" in page.text_of("left-out")


def test_percentiles_are_shown_without_a_verdict(page: Page) -> None:
    rows = rows_of(page.by_id("b2-p"))
    assert len(rows) == 5 * 3
    assert {"p50", "p90", "p99"} < rows[0].keys()
    assert "They have no verdict here" in page.text_of("b2")


# ---- nothing of the database becomes markup ----------------------------------------------------------------

HOSTILE = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'--><svg onload=alert(1)>{{ 7*7 }}{% raw %}",
    "\u202eright to left\u2066",
    "\x1b[31mred\x07\x00",
    "n" * 300,
    "]]>&lt;&#60;",
)


def test_no_name_becomes_markup_or_script(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    fleet = Fleet(
        hosts=HOSTILE[:3],
        benchmarks=HOSTILE,
        environments=("native", *HOSTILE[1:4]),
        blocks=6,
        suite=HOSTILE[0],
        facts={HOSTILE[0]: {HOSTILE[1]: HOSTILE[2], "cpu.model": HOSTILE[4]}},
        has_latencies=False,
    )
    with open_store(path, create=True) as store:
        run_id = add_fleet(store, fleet)
        store.writer.record_event(run_id, "warning", HOSTILE[1], HOSTILE[0])
    page = page_of(path)
    assert len(page.all("script")) == len(page.all("style")) == len(page.all("main")) == 1
    test_the_policy_allows_its_own_style_and_script_and_nothing_else(page)
    test_it_refers_to_nothing_outside_of_itself(page)
    text = page.root.text
    assert HOSTILE[0] in text and HOSTILE[1] in text and HOSTILE[2] in text, "they are shown as they are"
    kept = page.source.replace("\n", "")
    assert kept.isprintable(), "no control character, and no mark that turns the direction of a text"
    assert "49" not in {item.text for item in page.all("h2")}


# ---- sizes, colours ----------------------------------------------------------------------------------------


def test_twenty_benchmarks_on_ten_hosts_fit_into_two_megabytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.db"
    fleet = Fleet(
        hosts=tuple(f"host-{number}" for number in range(10)),
        environments=("native", "container", "vm"),
        has_latencies=True,
    )
    with open_store(path, create=True) as store:
        add_fleet(store, fleet)
    with open_store(path, read_only=True) as store:
        one = run_document(store, "latest")
    content = run_page(repeated(one, 20))
    assert content.count("<figure>") == 20 * 10 * 4
    assert len(content.encode()) <= 2_000_000
    monkeypatch.setattr("perfctl.render.html.benchmarks.MOST_CELLS", 12)
    some = Page(run_page(repeated(one, 2)))
    assert len(some.all("figure")) == 2 * 6 * 4, "of more targets only those far from the others"
    assert "Blocks are shown of the 6 of 10 targets" in some.text_of("b1")


def test_two_hundred_benchmarks_have_their_contents_folded(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with open_store(path, create=True) as store:
        add_fleet(store, Fleet(blocks=6, has_latencies=False))
        page = Page(run_page(repeated(run_document(store, "latest"), 200)))
    folded = page.root.one("nav").one("details")
    assert folded.one("summary").text == "200 benchmarks" and len(folded.all("a")) == 200
    assert len(rows_of(page.by_id("forest"))) == 200 and len(page.all("figure")) == 600


def repeated(document: RunDocument, times: int) -> RunDocument:
    """Return the document with its only benchmark as often, each time under another name."""
    names = [f"bench-{number}" for number in range(times)]
    report = document.comparison

    def renamed(items: Iterable[Any], name: str) -> list[Any]:
        return [replace(item, benchmark=name) for item in items]

    paired = tuple(
        replace(line, comparison=replace(line.comparison, benchmark=name))
        for name in names
        for line in report.paired
    )
    cells = tuple(
        replace(cell, benchmark=name, comparisons=tuple(renamed(cell.comparisons, name)))
        for name in names
        for cell in document.cells
    )
    fleets = tuple(item for name in names for item in renamed(report.fleets, name))
    percentiles = tuple(item for name in names for item in renamed(document.percentiles, name))
    benchmarks = tuple(replace(document.detail.benchmarks[0], name=name) for name in names)
    return replace(
        document,
        comparison=replace(report, paired=paired, fleets=fleets),
        detail=replace(document.detail, benchmarks=benchmarks),
        cells=cells,
        percentiles=percentiles,
    )


def palettes(style: str) -> list[dict[str, str]]:
    """Return the colours of the light, the dark and the printed page."""
    found = [
        dict(re.findall(r"--([\w]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    ]
    assert len(found) == 3 and found[0].keys() == found[1].keys() == found[2].keys()
    return found


def luminance(color: str) -> float:
    channels = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, two: str) -> float:
    brighter, darker = sorted((luminance(one), luminance(two)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def test_contrast_is_that_of_wcag_aa_light_dark_and_printed(page: Page) -> None:
    for colors in palettes(page.all("style")[0].text):
        paper = [colors["paper"], colors["panel"]]
        for name in ("ink", "muted", "link", "different", "equivalent", "inconclusive", "warn"):
            assert min(contrast(colors[name], ground) for ground in paper) >= 4.5, name
        # Marks on the paper and, in the forest plot, on the shaded margin.
        for name in ("different", "equivalent", "inconclusive", "muted"):
            assert contrast(colors[name], colors["margin"]) >= 3, name
        for name in (f"e{number}" for number in range(7)):
            assert contrast(colors[name], colors["paper"]) >= 3, name


# ---- the command -------------------------------------------------------------------------------------------


def test_the_same_database_gives_the_same_bytes(database: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere.db"
    backup(str(database), copy)
    pages = []
    for path in (database, database, copy):
        output = tmp_path / "report.html"
        assert perfctl(path, "report", "latest", "-o", str(output), "--force").exit_code == 0
        pages.append(output.read_bytes())
    assert pages[0] == pages[1] == pages[2]


def test_a_file_that_is_there_is_kept_unless_forced(database: Path, tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    output.write_text("mine")
    done = perfctl(database, "report", "latest", "-o", str(output))
    assert isinstance(done.exception, UsageError) and "--force replaces it" in done.exception.with_hint
    assert output.read_text() == "mine"
    assert perfctl(database, "report", "latest", "-o", str(output), "--force").exit_code == 0
    assert output.read_text().startswith("<!DOCTYPE html>")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"], "nothing is left beside it"


def test_a_device_is_never_replaced_and_a_link_is_followed(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link.html"
    os.mkfifo(pipe)
    with pytest.raises(UsageError, match="no regular file"):
        write_new(pipe, b"x", force=True)
    assert pipe.is_fifo()
    link.symlink_to("there.html")
    write_new(link, b"1")
    with pytest.raises(UsageError, match="exists"):
        write_new(link, b"2")
    write_new(link, b"2", force=True)
    assert link.is_symlink() and (tmp_path / "there.html").read_bytes() == b"2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.html", "pipe", "there.html"]


def test_a_file_that_cannot_be_written_is_an_error_with_its_path(database: Path, tmp_path: Path) -> None:
    output = tmp_path / "missing" / "report.html"
    done = perfctl(database, "report", "latest", "-o", str(output))
    assert isinstance(done.exception, UsageError) and str(output) in str(done.exception)
    assert "cannot be written" in str(done.exception)


def test_a_run_without_any_block_is_said_to_have_nothing(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with open_store(path, create=True) as store:
        cases.begin_run(store)
    page = page_of(path)
    assert "Nothing can be compared" in page.text_of("answer")
    assert "UNFINISHED" in page.text_of("answer")
    assert not page.all("figure")


def test_a_run_in_which_all_failed_says_so_and_has_its_failures(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with open_store(path, create=True) as store:
        failed = tuple((name, index) for name in ("native", "container") for index in range(6))
        add_fleet(store, Fleet(blocks=6, failed=failed))
    page = page_of(path)
    assert "Nothing can be compared" in page.text_of("answer")
    assert "18 failed (timeout)" in page.text_of("answer")
    assert "it took 16 s" in page.text_of("left-out")


def test_values_without_any_variance_have_charts_and_no_verdict(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with open_store(path, create=True) as store:
        add_run(store, noise=0.0, ratio=0.9)
    page = page_of(path)
    (row,) = rows_of(page.by_id("forest"))
    assert row["verdict"].text == "inconclusive"
    assert len(page.all("figure")) == 3
    assert "nan" not in page.source.lower().replace("nanosecond", "") and "inf " not in page.source


def test_another_baseline_and_all_metrics_can_be_asked_for(database: Path) -> None:
    page = page_of(database, "latest", "--baseline", "container", "--metric", "all")
    assert "against container" in page.root.one("h1").text
    assert {"latency_p99", "transactions_per_second"} <= set(re.findall(r"\w+", page.text_of("b1")))
    done = perfctl(database, "report", "latest", "--baseline", "nothing", "-o", "x.html")
    assert isinstance(done.exception, UnknownName) and "no environment 'nothing'" in str(done.exception)


def test_two_runs_have_a_page_of_how_the_costs_changed(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with open_store(path, create=True) as store:
        first = add_fleet(store, Fleet(seed=1, has_latencies=False))
        second = add_fleet(
            store,
            Fleet(
                seed=2,
                costs={"native": 1.0, "container": 1.3},
                facts={"h1": {"kernel.release": "6.6.0-1"}},
                has_latencies=False,
            ),
        )
    page = page_of(path, first, second)
    (row,) = rows_of(page.by_id("forest"))
    records = json.loads(perfctl(path, "compare", first, second, "--format", "json").stdout)["rows"]
    (record,) = [item for item in records if item["level"] == "host"]
    assert float(row["ratio"].get("data-value")) == pytest.approx(record["ratio"], rel=1e-6)
    assert row["verdict"].text == record["verdict"] == "different"
    assert "container in tcp-rr" in page.text_of("answer") and first in page.text_of("answer")
    assert "kernel.release: 6.1.0-1 -> 6.6.0-1" in page.text_of("hosts")
    blocks = rows_of(page.by_id("b1-1-t"))
    assert len(blocks) == 10 and {"container, run 1", "container, run 2"} < blocks[0].keys()
    test_the_policy_allows_its_own_style_and_script_and_nothing_else(page)
    test_it_refers_to_nothing_outside_of_itself(page)
