"""`perfctl plot`: the charts of the report in files of their own, and as text."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from perfctl.cli import main_group
from perfctl.errors import UnknownName, UsageError
from perfctl.render.plot import plot_svg
from perfctl.render.svg.png import png
from perfctl.render.terminal_plot import blocks_text, forest_text
from perfctl.report.document import RunDocument, run_document
from perfctl.store import open_store
from tests.unit.report_cases import Fleet, add_fleet

SVG = "{http://www.w3.org/2000/svg}"
FLEET = Fleet(
    hosts=("h1", "h2"),
    benchmarks=("tcp-rr", "<b>&\u202e"),
    environments=("native", "container", "gvisor"),
    blocks=7,
    invalid=(("container", 3),),
    has_latencies=False,
)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plot") / "results.db"
    with open_store(path, create=True) as store:
        add_fleet(store, FLEET)
    return path


@pytest.fixture(scope="module")
def document(database: Path) -> RunDocument:
    with open_store(database, read_only=True) as store:
        return run_document(store, "latest")


def perfctl(database: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main_group, ["--db", str(database), "plot", "latest", *arguments])


@pytest.mark.parametrize("kind", ["forest", "blocks", "ecdf", "order"])
def test_a_chart_is_an_svg_document_with_its_style_and_without_references(
    database: Path, tmp_path: Path, kind: str
) -> None:
    output = tmp_path / "chart.svg"
    done = perfctl(database, "--kind", kind, "-o", str(output))
    assert done.exit_code == 0, done.output
    text = output.read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg" and root.find(f"{SVG}title") is not None
    assert {item.tag.removeprefix(SVG) for item in root.iter()} <= {
        *("svg", "title", "style", "g", "path", "rect", "circle", "text")
    }
    assert "url(" not in text and text.count("http") == 1, "its namespace alone"
    shown = " ".join(item.text or "" for item in root.iter(f"{SVG}text"))
    assert "<b>&\\u202e" in shown, "a name is text, and turns no direction"
    x, y, width, height = map(float, root.attrib["viewBox"].split())
    places = [(float(item.attrib["x"]), float(item.attrib["y"])) for item in root.iter(f"{SVG}text")]
    assert (x, y) == (0, 0) and all(0 <= left <= width and 0 <= top <= height for left, top in places)
    assert perfctl(database, "--kind", kind, "-o", str(output), "--force").exit_code == 0
    assert output.read_text(encoding="utf-8") == text


def test_the_forest_has_a_row_for_each_line_over_hosts(database: Path, tmp_path: Path) -> None:
    output = tmp_path / "forest.svg"
    perfctl(database, "--kind", "forest", "-o", str(output))
    root = ElementTree.parse(output).getroot()
    marks = [item.attrib["class"] for item in root.iter(f"{SVG}g") if "v-" in item.attrib.get("class", "")]
    assert len(marks) == 2 * 2 and marks[2:] == ["v-different"] * 2, "gvisor, on a scale of its own"


def test_what_is_chosen_is_drawn_and_too_much_is_refused(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "blocks.svg"
    perfctl(database, "--kind", "blocks", "--benchmark", "tcp-rr", "--host", "h2", "-o", str(output))
    titles = [
        item.text for item in ElementTree.parse(output).iter(f"{SVG}text") if "title" in item.get("class", "")
    ]
    assert titles == ["tcp-rr on h2: transactions_per_second"]
    done = perfctl(database, "--kind", "blocks", "--host", "h9", "-o", str(output), "--force")
    assert isinstance(done.exception, UnknownName)
    monkeypatch.setattr("perfctl.render.plot.MOST_CHARTS", 3)
    done = perfctl(database, "--kind", "blocks", "-o", str(output), "--force")
    assert isinstance(done.exception, UsageError) and "4 charts" in str(done.exception)


def test_a_file_of_another_kind_and_no_output_at_all_are_refused(database: Path, tmp_path: Path) -> None:
    done = perfctl(database, "--kind", "forest", "-o", str(tmp_path / "x.gif"))
    assert isinstance(done.exception, UsageError) and "charts are SVG or PNG" in str(done.exception)
    done = perfctl(database, "--kind", "forest")
    assert isinstance(done.exception, UsageError) and "--in-terminal" in str(done.exception)
    done = perfctl(database, "--kind", "ecdf", "--in-terminal")
    assert isinstance(done.exception, UsageError) and "cannot be drawn as text" in str(done.exception)


class NoFonts:
    """resvg where no font is installed."""

    @staticmethod
    def svg_to_bytes(*, svg_string: str, zoom: int = 1, background: str = "") -> bytes:
        return b"the same image"


class Recorder:
    """resvg that keeps what it was given."""

    drawn: ClassVar[list[str]] = []

    @classmethod
    def svg_to_bytes(cls, *, svg_string: str, zoom: int = 1, background: str = "") -> bytes:
        cls.drawn.append(svg_string)
        return svg_string.encode()


@pytest.mark.parametrize(("found", "hint"), [(None, "perfctl[png]"), (NoFonts, "fonts-dejavu-core")])
def test_a_png_without_what_draws_it_is_refused_with_what_to_install(
    found: type | None, hint: str, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", found)
    done = perfctl(database, "--kind", "forest", "-o", str(tmp_path / "x.png"))
    assert isinstance(done.exception, UsageError) and hint in (done.exception.hint or "")
    assert not list(tmp_path.iterdir())


def test_a_png_gets_fixed_colors(document: RunDocument, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", Recorder)
    png(plot_svg(document, "blocks"))
    drawn = Recorder.drawn[-1]
    assert "var(" not in drawn and "@media" not in drawn and ":root" not in drawn
    assert ".e1 { color: #0b57a4; }" in drawn, "of the light scheme"
    ElementTree.fromstring(drawn)


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_the_forest_as_text_fits_its_terminal(document: RunDocument, width: int) -> None:
    lines = forest_text(document, width=width).splitlines()
    plots = lines[: lines.index("left of 1x: faster than native; right: slower; ├─┤ 95 % interval")]
    assert max(map(len, plots)) <= max(width, 40)
    rows = [line for line in plots if "hosts" in line or "…" in line]
    assert len(rows) == 4 and all(set(line) & set("■◆●○") for line in rows)
    assert all(("slower" in line) is (width >= 80) for line in rows)
    assert forest_text(document, width=width, is_ascii=True).isascii()


def test_blocks_as_text_have_a_line_per_block_with_its_change(document: RunDocument) -> None:
    text = blocks_text(document, width=80, benchmark="tcp-rr", host="h1")
    rows = [line.split() for line in text.splitlines() if line.startswith(("container", "gvisor"))]
    assert [row[:2] for row in rows] == [[name, str(i)] for name in ("container", "gvisor") for i in range(7)]
    assert rows[3][-1] == "—" and "x" in text.splitlines()[4], "an invalid value has no change"
    changes = [float(row[-2]) for row in rows[7:]]
    assert all(-66 < change < -55 for change in changes)
    assert max(len(line) for line in text.splitlines()) <= 90


def test_values_without_a_ratio_have_no_change_and_no_forest(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with open_store(path, create=True) as store:
        add_fleet(store, Fleet(blocks=7, has_latencies=False))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE invocation_metric SET value = 0")
    with open_store(path, read_only=True) as store:
        zeros = run_document(store, "latest")
    rows = [
        line.split() for line in blocks_text(zeros, width=80).splitlines() if line.startswith("container")
    ]
    assert len(rows) == 7 and all(row[-1] == "—" for row in rows)
    with pytest.raises(UsageError, match="no line has a ratio"):
        forest_text(zeros)
    for kind in ("blocks", "ecdf", "order"):
        ElementTree.fromstring(plot_svg(zeros, kind))
