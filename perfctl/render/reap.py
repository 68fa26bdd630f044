"""`reap`: what was removed from the hosts of a killed run."""

from __future__ import annotations

from dataclasses import asdict

from perfctl.execute import Reaping
from perfctl.render.view import Column, View, columns


def reap_view(reaping: Reaping) -> View:
    """Return the view of everything that was ended or removed."""
    records = [asdict(item) for item in reaping.removed]
    footer = reaping.left_alone or ([] if records or reaping.failures else ["nothing was left"])
    return View(
        "removed",
        [Column("run_id", "run"), *columns("host", "kind", "name")],
        records,
        footer=[*footer, *reaping.others],
    )
