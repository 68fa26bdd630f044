"""Put the parts of a page into one file: style and script by their hashes, and nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from perfctl.output import visible
from perfctl.render.html.background import background
from perfctl.render.html.benchmarks import benchmark_ids, benchmark_parts
from perfctl.render.html.overview import run_overview
from perfctl.render.html.two_runs import two_runs_context
from perfctl.render.runs import short_id, utc_text
from perfctl.render.svg.document import chart_style
from perfctl.report.document import RunDocument, TwoRunsDocument

_TEMPLATES = Path(__file__).parent / "templates"


def run_page(document: RunDocument) -> str:
    """Return the page of one run. The same database gives the same text."""
    anchors = benchmark_ids(document.detail.benchmarks)
    run = document.detail.summary
    return _page(
        {
            "title": f"perfctl: {run.suite}, {(utc_text(run.started_at) or '')[:10]}",
            "heading": _heading(document),
            "subheading": f"run {short_id(run.run_id)}, {utc_text(run.started_at)}",
            "overview": run_overview(document, anchors),
            "benchmarks": benchmark_parts(document, anchors),
            "parts": background(document),
        }
    )


def _heading(document: RunDocument) -> str:
    baseline = document.comparison.baseline
    others = [item.name for item in document.detail.environments if item.name != baseline]
    named = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    return f"{document.detail.summary.suite}: {named or 'nothing'} against {baseline}"


def two_runs_page(document: TwoRunsDocument) -> str:
    """Return the page of a comparison of two runs."""
    return _page(two_runs_context(document))


def _page(context: Mapping[str, Any]) -> str:
    style, script = chart_style() + _asset("style.css"), _asset("script.js")
    policy = (
        f"default-src 'none'; style-src '{_source_hash(style)}'; script-src '{_source_hash(script)}';"
        " base-uri 'none'; form-action 'none'"
    )
    template = _environment().get_template("page.html")
    # What is in the two files is ours, and must stay byte for byte what was hashed.
    return template.render(context, policy=policy, style=Markup(style), script=Markup(script)) + "\n"


def _source_hash(content: str) -> str:
    """Return the hash of an inline style or script as a Content-Security-Policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _asset(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _shown(value: Any) -> Any:
    """Return a text without secrets and control characters, before it is escaped; markup is ours."""
    return visible(value) if type(value) is str else value
