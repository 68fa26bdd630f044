"""What the page rests on, part by part: A/A and validity, hosts, what is left out, how to reproduce."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

from perfctl.model import Comparison
from perfctl.model.quantity import MISSING, counted
from perfctl.render.comparison import aa_notes, ended_note, flagged_notes
from perfctl.render.figures import figure_cells, not_shown
from perfctl.render.html.tables import Cell, Heading, Table, figure_table, key_values, table_of
from perfctl.render.left_out import left_out_sections
from perfctl.render.odd_hosts import host_sections, odd_hosts_note
from perfctl.render.outliers import outlier_sections
from perfctl.render.runs import utc_text
from perfctl.render.view import Column, Section, columns, cut
from perfctl.report import ComparisonReport
from perfctl.report.document import RunDocument
from perfctl.report.host_facts import FactValues, HostFacts
from perfctl.report.made_of import EnvironmentFact
from perfctl.store import RunDetail, ValidityCount

MOST_ROWS = 100
"""Rows of tables that could grow without end: failures, events, A/A tests."""
_SHORT_HASH = 12
_LONGEST_FACT = 80
"""Characters of a fact: the digest of an image is shown whole."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the page: a heading, sentences, and tables."""

    id: str
    title: str
    sentences: Sequence[str] = ()
    tables: Sequence[Table] = ()
    commands: Sequence[str] = ()


def background(document: RunDocument) -> list[Part]:
    """Return the parts after those of the benchmarks."""
    report, detail = document.comparison, document.detail
    return [
        Part("trust", "A/A and validity", [*aa_notes(report), *flagged_notes(report)], _trust(document)),
        Part("hosts", "Hosts", _host_sentences(document), [*_odd(document), *_hosts(document.facts)]),
        Part("left-out", "What was left out", _left_out_sentences(report), _left_out(report, detail)),
        Part(
            "reproduce",
            "How to reproduce",
            ["With the same suite and hosts, the seed gives the same blocks in the same order."],
            _reproduction(document),
            [
                shlex.join(detail.command),
                f"perfctl compare {report.run.run_id}",
                f"perfctl why {report.run.run_id} METRIC",
            ],
        ),
    ]


# ---- A/A and validity --------------------------------------------------------------------------------------


def _trust(document: RunDocument) -> list[Table]:
    tables = []
    tests = list(document.comparison.aa_tests)
    tests.sort(key=lambda item: item.p if item.p is not None else 1.0)
    if tests:
        tables.append(_aa_table(tests))
    if document.validity:
        tables.append(validity_table(document.validity))
    return tables


def _aa_table(tests: Sequence[Comparison]) -> Table:
    shown = [
        *columns("benchmark", "target", "metric"),
        *columns("ratio", align="right"),
        Column("interval", "95 % CI", align="right"),
        *columns("p", "n", align="right"),
    ]
    rows = [
        figure_cells(item) | {"benchmark": item.benchmark, "metric": item.metric.name, "p": f"{item.p:.3f}"}
        for item in tests[:MOST_ROWS]
    ]
    more = len(tests) - MOST_ROWS
    notes = [f"and {more} more, all with a larger p"] if more > 0 else []
    caption = "A/A tests: the baseline against itself, the smallest p first"
    return figure_table(Section(shown, rows, notes=notes), tests[:MOST_ROWS], caption=caption, id_="aa")


def validity_table(validity: Sequence[ValidityCount]) -> Table:
    """Return how many invocations of each environment count, and the rules that others crossed."""
    shown = [*columns("environment"), *columns("valid", "flagged", "invalid", align="right")]
    shown += [Column("not_judged", "not judged", align="right"), Column("rules", "rules crossed (times)")]
    rows = [
        (
            *(item.environment, item.valid, item.flagged, item.invalid, item.not_judged),
            ", ".join(f"{rule} ({count})" for rule, count in item.rules),
        )
        for item in validity
    ]
    notes = ["what is invalid counts in no comparison, what is flagged counts"]
    return table_of(
        Section(shown, rows, notes=notes),
        caption="Invocations that are ok, by what the counters around them say",
    )


# ---- hosts -------------------------------------------------------------------------------------------------


def _odd(document: RunDocument) -> list[Table]:
    sections = [section for host in document.odd.found for section in host_sections(host)]
    return [table_of(section) for section in sections]


def _host_sentences(document: RunDocument) -> list[str]:
    if len(document.detail.summary.hosts) == 1:
        return _fact_sentences(document.facts)
    return [odd_hosts_note(document.odd), *_fact_sentences(document.facts)]


def _fact_sentences(facts: HostFacts) -> list[str]:
    if not facts.hosts:
        return ["No facts of any host were read."]
    if len(facts.hosts) == 1:
        return [f"One host: {facts.hosts[0]}."]
    verb = "differs" if len(facts.differing) == 1 else "differ"
    differing, hosts = counted(len(facts.differing), "fact"), counted(len(facts.hosts), "host")
    found = [f"{differing} {verb} among {hosts}."]
    if facts.unique:
        found.append(f"Every host has its own value of: {', '.join(facts.unique)}.")
    return found


def _hosts(facts: HostFacts) -> list[Table]:
    tables = []
    if facts.differing:
        rows = [
            [Cell(row.name), Cell(_short(row.most_common)), Cell(_odd_text(row))] for row in facts.differing
        ]
        headings = [Heading("fact"), Heading("most hosts"), Heading("others")]
        tables.append(Table("What differs among the hosts", headings, rows))
    if facts.shared:
        same = "What the host is" if len(facts.hosts) == 1 else "What all hosts share"
        pairs = [(row.name, _short(row.most_common)) for row in facts.shared]
        tables.append(key_values(pairs, caption=same))
    return tables


def _odd_text(row: FactValues) -> str:
    by_value: dict[str, list[str]] = {}
    for host, value in row.odd_hosts.items():
        by_value.setdefault(value, []).append(host)
    parts = [f"{_short(value)} ({', '.join(hosts)})" for value, hosts in list(by_value.items())[:4]]
    more = len(by_value) - 4
    return "; ".join(parts) + (f"; and {more} more values" if more > 0 else "")


def _short(value: str) -> str:
    """Return the first line that tells something, cut."""
    lines = [line.strip() for line in value.split("\n") if line.strip()]
    named = [line.partition("=")[2].strip('"') for line in lines if line.startswith("PRETTY_NAME=")]
    return cut((named or lines or ["(empty)"])[0], _LONGEST_FACT) + (
        f" … {len(lines)} lines" if len(lines) > 1 and not named else ""
    )


# ---- what is left out --------------------------------------------------------------------------------------


def _left_out_sentences(report: ComparisonReport) -> list[str]:
    found = [ended_note(report), *(f"confounded: {text}" for text in report.confounded)]
    found += not_shown(report.other_benchmarks)
    if report.other_metrics:
        found.append(f"Metrics that are not compared here: {', '.join(report.other_metrics)}.")
    return found


def _left_out(report: ComparisonReport, detail: RunDetail) -> list[Table]:
    sections = left_out_sections({"": report.left_out})
    caption = "What no figure rests on, and why"
    tables = [_first_rows(table_of(section, caption=caption)) for section in sections]
    if detail.failures:
        rows = [
            [
                *(
                    Cell(item.benchmark),
                    Cell(str(item.target)),
                    Cell(item.environment),
                    Cell(str(item.block), "n"),
                ),
                *(Cell(f"{item.status} ({item.reason})"), Cell(cut(item.detail, 200))),
            ]
            for item in detail.failures[:MOST_ROWS]
        ]
        more = len(detail.failures) - MOST_ROWS
        notes = [f"and {more} more: perfctl show {report.run.run_id}"] if more > 0 else []
        names = ("benchmark", "target", "environment", "block", "status", "detail")
        headings = [Heading(name, "n" if name == "block" else "") for name in names]
        tables.append(Table("Invocations without a value", headings, rows, notes))
    sections = outlier_sections(report.outliers, report.run.run_id)
    return tables + [table_of(section, caption="Outliers (they are in every figure)") for section in sections]


def _first_rows(table: Table) -> Table:
    """Return a table with at most `MOST_ROWS` rows, and how many more there are."""
    more = len(table.rows) - MOST_ROWS
    if more <= 0:
        return table
    notes = [*table.notes, f"and {counted(more, 'row')} more: perfctl compare RUN has them"]
    return replace(table, rows=table.rows[:MOST_ROWS], notes=notes)


# ---- how to reproduce --------------------------------------------------------------------------------------


def _reproduction(document: RunDocument) -> list[Table]:
    detail = document.detail
    pairs = [
        ("run", detail.summary.run_id),
        ("suite", detail.summary.suite),
        ("seed", detail.seed),
        ("baseline", detail.baseline),
        ("perfctl", detail.perfctl_version),
        ("started", utc_text(detail.summary.started_at)),
        ("ended", utc_text(detail.summary.ended_at)),
    ]
    pairs += [
        (f"environment {item.name}", f"{item.description} (key {item.key[:_SHORT_HASH]})")
        for item in detail.environments
    ]
    pairs += [
        (
            f"benchmark {item.name}",
            " ".join([item.workload, *(f"{name}={value}" for name, value in item.parameters.items())]),
        )
        for item in detail.benchmarks
    ]
    tables = [key_values(pairs, caption="The run")]
    if document.made_of:
        tables.append(_made_of_table(document.made_of))
    if document.digests:
        tables.append(_digest_table(document))
    if detail.events:
        rows = [
            [Cell(utc_text(item.happened_at) or MISSING), Cell(item.level), Cell(item.where), Cell(item.text)]
            for item in detail.events[:MOST_ROWS]
        ]
        headings = [Heading(name) for name in ("time", "level", "where", "text")]
        more = len(detail.events) - MOST_ROWS
        notes = [f"and {more} more: perfctl show {detail.summary.run_id}"] if more > 0 else []
        tables.append(Table("What was reported during the run", headings, rows, notes))
    return tables


def _made_of_table(facts: Sequence[EnvironmentFact]) -> Table:
    rows = [
        [
            *(Cell(item.environment), Cell(item.fact.name.removeprefix("environment."))),
            *(Cell(_short(item.fact.most_common)), Cell(_odd_text(item.fact) or "none")),
        ]
        for item in facts
    ]
    headings = [Heading("environment"), Heading("fact"), Heading("value"), Heading("other hosts")]
    return Table("What the environments were made of", headings, rows)


def _digest_table(document: RunDocument) -> Table:
    """Return each program with the sha256 that it has, and where: one row says that all legs are equal."""
    places: dict[tuple[str, str], list[str]] = {}
    for (host, environment), programs in sorted(document.digests.items()):
        for program, digest in programs.items():
            places.setdefault((program, digest), []).append(f"{environment} on {host}")
    everywhere = len(document.digests)
    rows = []
    for (program, digest), where in sorted(places.items()):
        text = "everywhere" if len(where) == everywhere else cut(", ".join(where), 300)
        rows.append([Cell(program), Cell(digest), Cell(text)])
    return Table("Programs by their sha256", [Heading("program"), Heading("sha256"), Heading("where")], rows)
