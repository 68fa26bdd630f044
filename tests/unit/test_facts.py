"""Facts as text: captured outputs, damaged outputs, what changed, and the documentation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perfctl.errors import OutputError
from perfctl.facts import REGISTRY, diff, host_argv, parse
from perfctl.facts.registry import markdown_table
from perfctl.model import Fact, FactState, Fingerprint

DATA = Path(__file__).parents[1] / "data" / "facts"
DOCS = Path(__file__).parents[2] / "docs" / "facts.md"
CASES = sorted(path.parent.name for path in DATA.glob("*/stdout"))

WHOLE = (
    "=kernel.release present\n 6.1\n=kernel.cmdline missing\n#rows 2\n=tool.x.path denied\n#rows 1\n#end\n"
)


def fingerprint(*rows: tuple[str, str | None]) -> Fingerprint:
    """Return a fingerprint of static rows; None stands for missing."""
    return Fingerprint(
        tuple(
            Fact(name, FactState.MISSING if text is None else FactState.PRESENT, text or "")
            for name, text in rows
        )
    )


def test_there_are_captured_outputs():
    assert len(CASES) >= 4


@pytest.mark.parametrize("case", CASES)
def test_captured_output(case):
    facts = parse((DATA / case / "stdout").read_text(encoding="utf-8"))
    for name, expected in json.loads((DATA / case / "expected.json").read_text(encoding="utf-8")).items():
        fact = facts.get(name)
        assert fact is not None, name
        found = fact.value if fact.state is FactState.PRESENT else {"state": fact.state.value}
        assert found == expected, name


def test_what_a_stock_container_changes_is_seen():
    native = parse((DATA / "inside-native" / "stdout").read_text(encoding="utf-8"))
    container = parse((DATA / "inside-stock-container" / "stdout").read_text(encoding="utf-8"))
    changed = {change.name for change in diff(native, container)}
    assert {"task.seccomp", "task.seccomp_filters", "task.cap_eff", "net.links"} <= changed
    assert not {"kernel.release", "tool.sysbench.sha256", "time.current_clocksource"} & changed


# --- damaged output -----------------------------------------------------------------------------------------


def test_the_three_states_are_kept_apart():
    facts = parse(WHOLE)
    states = [(fact.name, fact.state, fact.value) for fact in facts.facts]
    assert states == [
        ("kernel.release", FactState.PRESENT, "6.1"),
        ("kernel.cmdline", FactState.MISSING, ""),
        ("tool.x.path", FactState.DENIED, ""),
    ]


def test_an_empty_text_is_present():
    fact = parse(WHOLE.replace(" 6.1", " ")).get("kernel.release")
    assert fact == Fact("kernel.release", FactState.PRESENT, "")


@pytest.mark.parametrize("text", ["=x present\n#rows 9\n#end", " \n\n ", "a\rb\x0bc\x85d\u2028e", "é\\xff"])
def test_no_text_is_taken_for_the_frame(text):
    framed = "\n".join(f" {line}" for line in text.split("\n"))
    fact = parse(WHOLE.replace(" 6.1", framed)).get("kernel.release")
    assert fact is not None
    assert fact.value == text


@pytest.mark.parametrize("length", range(len(WHOLE) - 1))
def test_output_cut_short_anywhere_is_refused(length):
    with pytest.raises(OutputError):
        parse(WHOLE[:length])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("#rows 2\n", "#rows 3\n"),
        ("#rows 1\n", ""),
        ("#rows 2\n", ""),
        ("=kernel.cmdline missing\n", ""),
        ("=kernel.cmdline missing\n", "=kernel.release missing\n"),
        ("=kernel.cmdline missing\n", "=kernel.cmdline missing\n text\n"),
        ("=kernel.cmdline missing\n", "=kernel.cmdline gone\n"),
        ("=kernel.cmdline missing\n", "=kernel.cmdline\n"),
        ("=kernel.cmdline missing\n", "=no.such.row missing\n"),
        ("#end\n", "#end\nbye\n"),
        ("=kernel.release", "Welcome to h1\n=kernel.release"),
    ],
)
def test_damaged_output_is_refused(old, new):
    assert old in WHOLE
    with pytest.raises(OutputError):
        parse(WHOLE.replace(old, new))


# --- what changed -------------------------------------------------------------------------------------------


def test_diff_is_empty_for_equal_readings():
    facts = parse(WHOLE)
    assert diff(facts, parse(WHOLE), dynamic=True) == []


def test_diff_tells_old_and_new():
    before = fingerprint(("cpu.freq.governor", "performance: 0-7"), ("cpu.boost", "1"), ("lsm.list", None))
    after = fingerprint(("cpu.freq.governor", "powersave: 0-7"), ("cpu.boost", "1"), ("lsm.list", "bpf"))
    assert [str(change) for change in diff(before, after)] == [
        "cpu.freq.governor: performance: 0-7 -> powersave: 0-7",
        "lsm.list: missing -> bpf",
    ]


def test_diff_of_long_texts_shows_the_first_line_that_differs():
    (change,) = diff(
        fingerprint(("net.links", "lo\neth0\neth1")), fingerprint(("net.links", "lo\neth0\neth2"))
    )
    assert str(change) == "net.links: eth1 -> eth2"


@pytest.mark.parametrize(
    ("old", "new", "said"), [("lo", "lo\neth0", "(end) -> eth0"), ("lo\na", "lo", "a -> (end)")]
)
def test_diff_of_texts_of_different_length(old, new, said):
    (change,) = diff(fingerprint(("net.links", old)), fingerprint(("net.links", new)))
    assert str(change) == f"net.links: {said}"


def test_diff_names_rows_that_only_one_reading_has():
    assert [str(c) for c in diff(fingerprint(), fingerprint(("cpu.boost", "1")))] == [
        "cpu.boost: not read -> 1"
    ]
    assert [str(c) for c in diff(fingerprint(("cpu.boost", "1")), fingerprint())] == [
        "cpu.boost: 1 -> not read"
    ]


def test_dynamic_rows_count_neither_for_the_hash_nor_unasked_for_the_difference():
    old = parse("=load.average present\n 1\n#rows 1\n#rows 0\n#end\n")
    new = parse("=load.average present\n 2\n#rows 1\n#rows 0\n#end\n")
    assert old.key == new.key
    assert diff(old, new) == []
    assert [change.name for change in diff(old, new, dynamic=True)] == ["load.average"]


# --- the registry -------------------------------------------------------------------------------------------


def test_names_are_unique_and_dotted():
    names = [spec.name for spec in REGISTRY]
    assert len(set(names)) == len(names)
    assert all("." in name and " " not in name and "|" not in name for name in names)


@pytest.mark.parametrize("name", ["two words", "$(id)", "a;b", "", "a\nb", "a'b"])
def test_a_program_that_cannot_name_a_row_is_refused(name):
    with pytest.raises(ValueError, match="cannot name"):
        host_argv([name])


def test_the_documentation_has_the_table():
    assert markdown_table() in DOCS.read_text(encoding="utf-8"), (
        "put the output of markdown_table() into docs/facts.md"
    )
