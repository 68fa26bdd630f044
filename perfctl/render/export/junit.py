"""JUnit XML: every invocation, or every comparison, as a test case.

An invocation that failed is a failure, one that was skipped or interrupted is skipped. A comparison never
fails: whether a cost is too high is for `perfctl gate`, which writes JUnit, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree

from perfctl.compare import format_comparison, format_fleet
from perfctl.model import Comparison, FleetComparison, Status, Verdict
from perfctl.render.figures import hosts_text
from perfctl.render.junit import legal
from perfctl.report import ComparisonReport
from perfctl.report.export import SampleReport


def samples(report: SampleReport) -> str:
    """Return a test case per invocation, with its duration."""
    suite = ElementTree.Element("testsuite", name=legal(f"perfctl {report.detail.summary.run_id}"))
    for item in report.invocations:
        leg = f"{item.environment} A2" if item.replicate == 2 else item.environment
        name = f"{leg} on {item.target}, block {item.block}, attempt {item.attempt}"
        case = _case(suite, item.benchmark, name, duration_s=item.duration_s)
        if item.status is Status.OK:
            continue
        message = legal(f"{item.reason}: {item.detail}" if item.detail else str(item.reason))
        if item.status is Status.FAILED:
            ElementTree.SubElement(case, "failure", type=str(item.reason), message=message)
        else:
            ElementTree.SubElement(case, "skipped", message=message)
    return _document(suite)


def comparisons(report: ComparisonReport) -> str:
    """Return a test case per comparison with its sentence; an inconclusive one is skipped, with why."""
    suite = ElementTree.Element("testsuite", name=legal(f"perfctl {report.run.run_id}"))
    items: list[Comparison | FleetComparison] = list(report.fleets)
    items += [item for item in report.comparisons if not item.is_aa]
    for item in items:
        if isinstance(item, FleetComparison):
            place, words = hosts_text(item), format_fleet(item)
        else:
            place, words = str(item.target), format_comparison(item)
        name = f"{item.metric.name} {item.environment} against {item.baseline} on {place}"
        case = _case(suite, item.benchmark, name)
        if item.judgement and item.judgement.verdict is Verdict.INCONCLUSIVE:
            ElementTree.SubElement(case, "skipped", message=legal(f"inconclusive: {item.judgement.why}"))
        ElementTree.SubElement(case, "system-out").text = legal(words)
    return _document(suite)


def _case(
    suite: ElementTree.Element, benchmark: str, name: str, *, duration_s: float | None = None
) -> ElementTree.Element:
    case = ElementTree.SubElement(suite, "testcase", classname=legal(benchmark), name=legal(name))
    if duration_s is not None:
        case.set("time", f"{duration_s:.6f}")
    return case


def _document(suite: ElementTree.Element) -> str:
    suite.set("tests", str(len(suite)))
    for tag, attribute in (("failure", "failures"), ("skipped", "skipped")):
        suite.set(attribute, str(_count(suite, tag)))
    suite.set("errors", "0")
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False) + "\n"


def _count(cases: Iterable[ElementTree.Element], tag: str) -> int:
    return sum(case.find(tag) is not None for case in cases)
