"""A report as one HTML file that needs nothing else: no server, no other file, no script to be read.

    page.py         the file: its parts, its style and script, what it may load (nothing)
    overview.py     what was asked, the answer, the forest plot
    benchmarks.py   one part per benchmark; its targets: targets.py, blocks.py, percentiles.py
    two_runs.py     the page of two runs
    background.py   what it rests on: A/A, validity, hosts, what is left out, how to reproduce
    tables.py       sections of `perfctl.render.view` as tables of the page
    templates/      Jinja2, with autoescape; style.css and script.js beside them

What a page says of uncertainty are the comparisons of `perfctl compare`, in the same words. What is to come
(a waterfall of layers, scaling curves, telemetry) is a `Part` among those of `background.py`, or a `Figure`
of a target in `targets.py`: neither needs a change of the templates.
"""

from __future__ import annotations

from perfctl.render.html.page import run_page, two_runs_page

__all__ = ["run_page", "two_runs_page"]
