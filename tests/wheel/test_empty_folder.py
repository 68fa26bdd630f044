"""A user with nothing but the wheel and an empty folder: a lab, provisioned, measured and compared."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.lab import INVENTORY, LabAtHand
from tests.wheel.conftest import Installation

SUITE = """\
[suite]
environments = ["native", "container"]
blocks = 1

[[benchmark]]
name = "primes"
workload = "sysbench"
parameters = { test = "cpu", threads = 1, time_s = 1 }
"""


def _next_command(stderr: str, label: str) -> list[str]:
    """Return the arguments of the perfctl command that was suggested behind `label`."""
    (line,) = (line for line in stderr.splitlines() if line.startswith(f"{label}: perfctl "))
    return shlex.split(line)[len(shlex.split(label)) + 1 :]


@pytest.mark.lab("both")
def test_what_is_suggested_leads_from_a_lab_to_a_comparison(
    installed: Installation, provisioned_lab: LabAtHand, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    homes = {f"XDG_{name}_HOME": str(tmp_path / name) for name in ("DATA", "CONFIG", "CACHE")}

    def perfctl(*arguments: str) -> tuple[str, str]:
        # Where tests run, other things run, too: a host must not be refused for that.
        done = installed.run("perfctl", *arguments, cwd=empty, environ={**homes, "PERFCTL_FORCE": "1"})
        return done.stdout, done.stderr

    project, name = str(provisioned_lab.project_dir), INVENTORY.stem
    inventory, said = perfctl("lab", "up", "--name", name, "--project", project)
    assert inventory == f"{INVENTORY}\n"
    provision = _next_command(said, "prepare its hosts for runs")
    assert provision[:3] == ["provision", "-i", str(INVENTORY)]
    provision += ["--limit", ",".join(provisioned_lab.hosts)]  # The third host has tests of its own.

    # An earlier test may have left a host as it should not be: the first time there may be something to do.
    perfctl(*provision)
    states, said = perfctl(*provision, "--format", "json")
    assert {(row["host"], row["state"]) for row in json.loads(states)["rows"]} == {
        (host, "current") for host in provisioned_lab.hosts
    }
    assert _next_command(said, "measure there")[:3] == ["run", "--suite", "cpu"]

    (empty / "tiny.toml").write_text(SUITE)
    host = provisioned_lab.hosts[0]
    run_id, said = perfctl("run", "--suite", "tiny.toml", "--limit", host, "-i", inventory.strip())
    database = tmp_path / "DATA" / "perfctl" / "results.db"
    assert f"results go to {database} (" in said

    compare = _next_command(said, "see what it costs")
    assert compare == ["compare", run_id.strip()]
    rows = json.loads(perfctl(*compare, "--format", "json")[0])["rows"]
    assert {(row["target"], row["environment"]) for row in rows} >= {(host, "container")}
    assert database.exists()
    # What is not of this machine's user, and not asked for, is left as it was.
    assert [path.name for path in empty.iterdir()] == ["tiny.toml"]
