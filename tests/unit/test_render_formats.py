"""One view in every format, and the seam through which a format is added."""

from __future__ import annotations

import ast
import csv
import io
import json
import math
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from perfctl.cli import main_group
from perfctl.model import Direction
from perfctl.output import visible
from perfctl.render import FORMATS, Format, print_view
from perfctl.render.figures import value_text
from perfctl.render.runs import runs_view
from perfctl.render.view import Column, Remarks, Screen, Section, View, columns, cut
from perfctl.store import RunSummary

CLI = Path(__file__).parents[2] / "perfctl" / "cli"
LIST = View(
    "demo",
    [Column("name", "host"), Column("value", "speed", "MB/s", align="right"), Column("port")],
    [
        {"name": "h1", "value": 12345.678, "port": 12865, "extra": [1, None]},
        {"name": "h2", "value": None, "port": None},
        ("h|3", 0, ""),
    ],
    footer=["a note"],
)
REPORT = View(
    "report",
    columns("ratio"),
    [{"ratio": 1.5}],
    sections=[
        Section(
            [Column("ratio", align="right"), Column("verdict", tones={"different": "bad"}), Column("note")],
            [("1.50x slower", "different", "1")],
            "cpu  events (1/s)",
        )
    ],
    warnings=["unfinished"],
    lead="read this first",
    remarks=["would detect 18 % or more with 12 blocks; needs about 40 blocks"],
    appendix=[Section(columns("reason"), [("timeout",)], "left out")],
    footer=["database x.db"],
)


def rendered(view: View, fmt: str = "table", **screen: object) -> str:
    return FORMATS[fmt].render(view, Screen(**screen))  # type: ignore[arg-type]


def test_a_list_as_text() -> None:
    assert rendered(LIST) == (
        "host  speed (MB/s)  port\n"
        "----  ------------  -----\n"
        "h1          12,346  12865\n"
        "h2               —  —\n"
        "h|3              0  —\n"
        "\n"
        "a note\n"
    )


@pytest.mark.parametrize("fmt", ["table", "md"])
def test_people_read_warnings_lead_tables_notes_and_footer_in_this_order(fmt: str) -> None:
    text = rendered(REPORT, fmt)
    parts = (
        "unfinished",
        "read this first",
        "cpu  events",
        "1.50x slower",
        "would detect 18 %",
        "left out",
        "x.db",
    )
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert text.count("would detect") == 1 and text.endswith("database x.db\n")


def test_json_keeps_values_and_says_missing_as_null() -> None:
    assert json.loads(rendered(LIST, "json")) == {
        "schema_version": 1,
        "kind": "demo",
        "rows": [
            {"name": "h1", "value": 12345.678, "port": 12865, "extra": [1, None]},
            {"name": "h2", "value": None, "port": None},
            {"name": "h|3", "value": 0, "port": ""},
        ],
        "notes": ["a note"],
    }
    report = json.loads(rendered(REPORT, "json"))
    assert (report["rows"], report["notes"]) == ([{"ratio": 1.5}], ["unfinished", "database x.db"])


def test_the_notes_of_csv_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    print_view(REPORT, "csv")
    captured = capsys.readouterr()
    assert captured.out == "ratio\n1.5\n"
    assert captured.err == "unfinished\ndatabase x.db\n"


def test_csv_leaves_missing_empty() -> None:
    rows = list(csv.reader(io.StringIO(rendered(LIST, "csv"))))
    assert rows == [["name", "value", "port"], ["h1", "12345.678", "12865"], ["h2", "", ""], ["h|3", "0", ""]]


def test_markdown() -> None:
    assert rendered(LIST, "md") == (
        "| host | speed (MB/s) | port |\n"
        "| --- | ---: | --- |\n"
        "| h1 | 12,346 | 12865 |\n"
        "| h2 | — | — |\n"
        "| h\\|3 | 0 | — |\n"
        "\n"
        "a note\n"
    )
    assert "**cpu  events (1/s)**\n\n| ratio |" in rendered(REPORT, "md")
    assert "\n1. would detect" in rendered(REPORT, "md")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_what_is_no_number_is_missing_and_never_zero(value: float | None) -> None:
    view = View("t", columns("x", align="right"), [{"x": value}])
    assert json.loads(rendered(view, "json"))["rows"] == [{"x": None}]
    assert rendered(view, "csv") in ("x\n\n", 'x\n""\n')
    assert rendered(view).splitlines()[-1].strip() == "—"
    assert "| — |" in rendered(view, "md")


def test_enums_booleans_and_lists() -> None:
    view = View("t", columns("way", "yes", "hosts"), [(Direction.LOWER, True, ["h1", "h2"])])
    assert json.loads(rendered(view, "json"))["rows"] == [
        {"way": "lower", "yes": True, "hosts": ["h1", "h2"]}
    ]
    assert rendered(view, "csv") == 'way,yes,hosts\nlower,true,"[""h1"", ""h2""]"\n'
    assert rendered(view).splitlines()[-1].split() == ["lower", "yes", "h1,", "h2"]


def test_a_row_of_another_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        rendered(View("t", columns("a"), [(1, 2)]))


def test_an_empty_view_says_so() -> None:
    view = View("t", columns("a"), [])
    assert rendered(view) == "a\n-\n(nothing)\n"
    assert json.loads(rendered(view, "json"))["rows"] == []
    assert rendered(view, "csv") == "a\n"
    assert rendered(View("t", columns("a"), [], sections=[], footer=["why"])) == "(nothing)\n\nwhy\n"


def test_a_narrow_terminal_wraps_text_and_never_figures() -> None:
    view = View(
        "t",
        [Column("n", align="right"), Column("text"), Column("more"), Column("ratio", align="right")],
        [(1234567.0, "some words that go on for quite a while", "a few more words here", "1.11x slower")],
        footer=["a note of more than forty characters that has to wrap there"],
    )
    lines = rendered(view, width=60).splitlines()
    assert max(len(line) for line in lines) <= 60
    assert "1,234,567" in lines[2] and lines[2].endswith("1.11x slower")
    narrow = rendered(view, width=30)
    assert "1,234,567" in narrow and "1.11x slower" in narrow
    assert max(len(line) for line in narrow.partition("\n\n")[2].splitlines()) <= 30


def test_a_pair_wraps_before_its_arrow_and_long_words_are_broken() -> None:
    view = View("t", columns("a"), [("perfctl-test-1->perfctl-test-2",), ("x" * 20,)])
    lines = [line.strip() for line in rendered(view, width=14).splitlines()[2:]]
    assert lines == ["perfctl-test-1", "->perfctl-", "test-2", "x" * 14, "x" * 6]


def test_without_a_terminal_a_view_may_limit_its_width() -> None:
    long = "word " * 40
    assert max(map(len, rendered(View("t", columns("a"), [(long,)])).splitlines())) > 120
    limited = rendered(View("t", columns("a"), [(long,)], footer=[long], widest=80))
    assert max(map(len, limited.partition("\n\n")[0].splitlines())) <= 80
    assert max(map(len, limited.splitlines())) <= 120


def test_control_characters_cannot_steer_the_terminal() -> None:
    view = View("t", columns("a"), [["\x1b[31mred\nnext"]], footer=["\x07bell"])
    for fmt in ("table", "md"):
        text = rendered(view, fmt)
        assert "\x1b" not in text and "\x07" not in text
        assert "\\x1b[31mred\\nnext" in text
    assert visible("plain ünïcode →") == "plain ünïcode →"


def test_color_marks_headings_and_verdicts_and_says_nothing_alone() -> None:
    colored, bare = rendered(REPORT, has_color=True), rendered(REPORT)
    assert "\x1b[31mdifferent\x1b[0m" in colored and "\x1b" not in bare
    assert "different" in bare
    assert "\x1b[1mcpu  events (1/s)\x1b[0m" in colored


def test_csv_keeps_its_notes_off_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    print_view(LIST, "csv")
    captured = capsys.readouterr()
    assert "a note" not in captured.out
    assert captured.err == "a note\n"


def test_an_output_that_cannot_hold_a_character_gets_another(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    print_view(LIST)
    sys.stdout.flush()
    assert b"h2               ?  ?" in raw.getvalue()


def test_equal_remarks_share_a_number() -> None:
    remarks = Remarks()
    assert remarks.add("a", "", "b") == "1, 2"
    assert (remarks.add("b", "c"), remarks.add(""), remarks.texts) == ("2, 3", "", ("a", "b", "c"))


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, None), (9812.6, "9,813"), (9.9e6, "9,900,000"), (1.2345e7, "12.35 M"), (1950019896.0, "1.950 G")],
)
def test_large_values_have_a_prefix(value: float | None, text: str | None) -> None:
    assert value_text(value) == text


def test_text_from_elsewhere_is_cut() -> None:
    assert cut("short") == "short"
    assert len(cut("x" * 500)) == 60 and cut("x" * 500).endswith("…")


# ---- the seam ----------------------------------------------------------------------------------------------


def test_a_format_is_one_function_and_one_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    def tabbed(view: View, screen: Screen) -> str:
        names = [column.name for column in view.fields]
        return "".join("\t".join(str(record[name]) for name in names) + "\n" for record in view.records)  # type: ignore[call-overload]

    monkeypatch.setitem(FORMATS, "tsv", Format(tabbed))
    done = CliRunner().invoke(main_group, ["suites", "--format", "tsv"])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0].startswith("bulk\t")
    assert "tsv" in CliRunner().invoke(main_group, ["suites", "--help"]).output


def test_a_format_that_is_not_registered_is_a_usage_error() -> None:
    done = CliRunner().invoke(main_group, ["suites", "--format", "xml"])
    assert done.exit_code == 2
    assert all(name in done.output for name in FORMATS)


def modules() -> list[Path]:
    return sorted(CLI.glob("*.py"))


def test_commands_make_no_tables_and_know_no_format() -> None:
    for path in modules():
        tree = ast.parse(path.read_text())
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        names = {alias.name for node in imports for alias in node.names}
        assert names.isdisjoint({"Column", "Section", "View", "columns"}), path
        texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        assert texts.isdisjoint(FORMATS), path


def test_commands_stay_small() -> None:
    sizes = {path.name: len(path.read_text().splitlines()) for path in modules()}
    assert [name for name, size in sizes.items() if size > 120] == []


def test_there_is_little_shell() -> None:
    """Hosts have Python; what has none is inside environments, and the boot of guests is shell still."""
    lines = {path: len(path.read_text().splitlines()) for path in CLI.parent.rglob("*.sh")}
    of_guests = CLI.parent / "environments" / "vm"
    assert sum(lines.values()) <= 540
    assert sum(count for path, count in lines.items() if path.parent != of_guests) < 100


# ---- for spreadsheets, wikis and the clipboard -------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1+cmd", "-1+1", "@SUM(A1)", "=cmd|' /C calc'!A0", "\t=1", "\r=1", " =1", "\uff1d1", "--flag"],
)
def test_no_cell_of_a_csv_is_a_formula(text: str) -> None:
    heading, cell = csv.reader(io.StringIO(rendered(View("x", columns(text, "n"), [(text, -1.5)]), "csv")))
    shown = "'" + text.replace("\r", "\n")
    assert heading == [shown, "n"]
    assert cell == [shown, "-1.5"]


@pytest.mark.parametrize("text", ["-5", "+1.5e3", "-0.25", "-inf", "plain", "a=b", "1-2", ""])
def test_numbers_and_plain_words_stay_as_they_are_in_a_csv(text: str) -> None:
    assert list(csv.reader(io.StringIO(rendered(View("x", columns("n", "m"), [(text, 1)]), "csv"))))[1] == [
        text,
        "1",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=y>",
        "</td>",
        "<!-- x -->",
        "<?php ?>",
        "![x](http://example.org/x.png)",
        "[x](javascript:y)",
        "[x][y]",
    ],
)
def test_markdown_has_no_html_no_link_and_no_image_of_others(text: str) -> None:
    view = View(
        "x",
        columns(text),
        [(text,)],
        sections=[Section(columns(text), [(text,)], text, [text])],
        warnings=[text],
        lead=text,
        remarks=[text],
        footer=[text],
    )
    shown = rendered(view, "md")
    assert not re.search(r"<[a-zA-Z/!?]", shown) and "](" not in shown and "][" not in shown


def test_markdown_leaves_comparisons_as_they_are() -> None:
    assert "| 1 < 2 & 3 > 2 |" in rendered(View("x", columns("a"), [("1 < 2 & 3 > 2",)]), "md")


@pytest.mark.parametrize("text", ["a|b", "a\\|b", "a\\", "\\\\|", "|"])
def test_a_cell_of_markdown_ends_only_at_its_end(text: str) -> None:
    row = rendered(View("x", columns("a", "b"), [(text, "end")]), "md").splitlines()[2]
    # A bar that an even number of backslashes precedes ends a cell.
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 3


@pytest.mark.parametrize("width", [20, 40, 80, 120])
@pytest.mark.parametrize(
    "id_", ["01a21faa-05e8-700e-b083-34869f2234d5", "c0ffee000000", "ab" * 16, "12" * 32]
)
def test_an_id_is_never_broken(id_: str, width: int) -> None:
    long = "several-words-that-may-be-broken and others " * 3
    for cell in (id_, f"run {id_}, and again ({id_})"):
        shown = rendered(
            View("x", columns("a", "b", "c"), [(long, cell, long)], footer=[f"see {id_}"]), width=width
        )
        assert shown.count(id_) == cell.count(id_) + 1


def test_runs_fit_80_columns_with_whole_ids() -> None:
    run = RunSummary(
        "01a21d2b-832b-7939-8823-3b91bcff410a", "parity", "complete", 0.0, 1.0, ("h1", "h2"), 9, 9, 0, 0, 0
    )
    shown = rendered(runs_view([run]), width=80)
    assert sum(line.startswith(run.run_id) for line in shown.splitlines()) == 1
