"""`provision` and `verify`: the state of every host."""

from __future__ import annotations

from perfctl.provision import ProvisionReport, VerifyReport
from perfctl.render.text import WIDTH
from perfctl.render.view import Column, View, columns


def provision_view(report: ProvisionReport) -> View:
    """Return the view of what was done on every host."""
    fields = [
        *columns("host", "state"),
        Column("changed", "tasks that changed something", align="right"),
        Column("message"),
    ]
    records = [
        (item.host, item.state.value, item.changed, item.message.replace("\n", " | "))
        for item in report.hosts
    ]
    return View("provision", fields, records, widest=WIDTH)


def verify_view(report: VerifyReport) -> View:
    """Return the view of what is as it was provisioned, and of what is not."""
    records = [(host, "as provisioned") for host in report.clean]
    records += [(drift.host, drift.what) for drift in report.drifts]
    records += [(failure.host, failure.message.replace("\n", " | ")) for failure in report.failures]
    return View("verify", columns("host", "state"), records, widest=WIDTH)
