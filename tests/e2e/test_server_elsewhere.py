"""Network benchmarks whose server runs in another environment than the client, without guests."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from perfctl.inventory import load_hosts
from tests.e2e.conftest import Project
from tests.lab import LabAtHand

pytestmark = pytest.mark.lab("both")

SUITE = """\
[suite]
name = "elsewhere"
description = "Servers natively, in containers, and where they cannot be."
baseline = "native"
environments = ["native", "container-to-native", "native-to-container", "native-to-nowhere"]
blocks = 1

[environments.native-to-container]
kind = "native"
server = "container"

[environments.nowhere]
kind = "container"
image = "perfctl/no-such-image:latest"

[environments.native-to-nowhere]
kind = "native"
server = "nowhere"

[[benchmark]]
name = "rr"
workload = "netperf"
parameters = { test = "TCP_RR", time_s = 1 }
"""


@pytest.fixture(scope="module")
def measured(provisioned_lab: LabAtHand, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with one run of the suite on the lab."""
    busy_too = dict(os.environ, PERFCTL_FORCE="1")
    project = Project(tmp_path_factory.mktemp("elsewhere"), provisioned_lab.inventory, busy_too)
    Path(project.suite).write_text(SUITE)
    done = project.perfctl("run", "--suite", project.suite, timeout_s=300)
    assert done.returncode == 3, done.stderr
    assert "nowhere: not available" in done.stderr
    return project


def test_servers_are_where_they_should_be(measured: Project, provisioned_lab: LabAtHand) -> None:
    rows = measured.rows("SELECT environment, argv_json FROM v_invocation WHERE status = 'ok'")
    servers = {}
    for row in rows:
        argv: list[str] = json.loads(row["argv_json"])
        servers[row["environment"]] = argv[argv.index("-H") + 1]
    hosts = {host.network_address for host in load_hosts([str(provisioned_lab.inventory)])}
    assert set(servers) == {"native", "container-to-native", "native-to-container"}
    assert servers["native"] == servers["container-to-native"]
    assert servers["native"] in hosts
    assert servers["native-to-container"] not in hosts


def test_a_server_that_cannot_be_is_told_for_its_client(measured: Project) -> None:
    (row,) = measured.rows(
        "SELECT environment, status, reason, detail FROM v_invocation WHERE status != 'ok'"
    )
    assert (row["environment"], row["status"]) == ("native-to-nowhere", "failed")
    assert row["reason"] == "environment_not_made"
    assert "perfctl/no-such-image:latest is not there" in row["detail"]


def test_whole_frames_were_sent_from_every_environment(measured: Project) -> None:
    listed = measured.perfctl("show", "latest", "--format", "json")
    assert listed.returncode == 0, listed.stderr
    assert "does not answer a ping" not in listed.stdout
    assert "do not arrive whole" not in listed.stdout
    assert "the largest packet" not in listed.stdout


def test_the_servers_host_is_read_around_every_invocation(measured: Project) -> None:
    rows = measured.rows(
        "SELECT invocation_id, count(*) AS kept FROM v_invocation JOIN v_artifact USING (invocation_id)"
        " WHERE status = 'ok' AND name LIKE 'server\\_counters\\_%' ESCAPE '\\' AND size_bytes > 0"
        " GROUP BY invocation_id"
    )
    assert [row["kept"] for row in rows] == [2] * len(rows)
    assert len(rows) == measured.rows("SELECT ok FROM v_run")[0]["ok"]
    shown = measured.perfctl("show", "latest", "--invocation", rows[0]["invocation_id"], "--format", "json")
    (invocation,) = json.loads(shown.stdout)["rows"]
    unjudged = {item["rule"] for item in invocation["not_judged"]}
    assert "server" not in unjudged
    peer = measured.rows("SELECT DISTINCT peer FROM v_invocation")[0]["peer"]
    said = [item["reason"] for item in invocation["not_judged"]]
    said += [item["sentence"] for item in invocation["findings"]]
    assert any(text.startswith(f"at {peer}: ") for text in said)


def test_nothing_is_left(measured: Project, provisioned_lab: LabAtHand) -> None:
    (run,) = measured.rows("SELECT run_id FROM v_run")
    for host in provisioned_lab.hosts:
        label = f"label=perfctl.run={run['run_id']}"
        assert provisioned_lab.inside(host, "docker", "ps", "-aq", "--filter", label) == ""
