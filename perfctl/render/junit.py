"""A gate as JUnit XML, which build servers show: a line is a test case, and only what passed has passed."""

from __future__ import annotations

from xml.etree import ElementTree

from perfctl.redaction import redact
from perfctl.report.gate import GateLine, GateReport, GateState


def junit_xml(report: GateReport, *, strict: bool) -> bytes:
    """Return the XML document (UTF-8). The same report gives the same bytes.

    A line that crossed is a failure; one that is undecided, missing or excluded is skipped with its reason,
    or with `strict` a failure where it is undecided or missing.
    """
    failing = {id(line) for line in report.fails(strict=strict)}
    skipped = [
        line for line in report.lines if id(line) not in failing and line.state is not GateState.PASSED
    ]
    suite = ElementTree.Element(
        "testsuite",
        name=f"perfctl gate {report.run.run_id}",
        tests=str(len(report.lines)),
        failures=str(len(failing)),
        errors="0",
        skipped=str(len(skipped)),
    )
    properties = ElementTree.SubElement(suite, "properties")
    facts = {
        "run": report.run.run_id,
        "suite": report.run.suite,
        "baseline_run": report.baseline_run.run_id if report.baseline_run else "",
        "max_regression": f"{100 * report.max_regression:g}%",
        "strict": str(strict).lower(),
    }
    for name, value in facts.items():
        ElementTree.SubElement(properties, "property", name=name, value=legal(value))
    for line in report.lines:
        _add_case(suite, line, fails=id(line) in failing)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _add_case(suite: ElementTree.Element, line: GateLine, *, fails: bool) -> None:
    metric = line.metric.name if line.metric else "all metrics"
    case = ElementTree.SubElement(
        suite,
        "testcase",
        classname=legal(line.benchmark),
        name=legal(f"{metric} {line.environment} against {line.baseline} on {line.target}"),
    )
    message = legal(f"{line.state}: {line.why or line.words}")
    if fails:
        ElementTree.SubElement(case, "failure", message=message, type=line.state.value).text = _text(line)
    elif line.state is not GateState.PASSED:
        ElementTree.SubElement(case, "skipped", message=message)
    if line.words:
        ElementTree.SubElement(case, "system-out").text = _text(line)


def _text(line: GateLine) -> str:
    parts = [line.words, line.why, f"confounded: {line.confounded}" if line.confounded else ""]
    return legal("\n".join(filter(None, parts)))


def legal(text: str) -> str:
    """Return the text without secrets, and without the characters that XML 1.0 cannot hold."""
    return "".join(
        char
        if char in "\t\n\r" or " " <= char <= "\ud7ff" or "\ue000" <= char <= "\ufffd" or char > "\uffff"
        else "\ufffd"
        for char in redact(text)
    )
