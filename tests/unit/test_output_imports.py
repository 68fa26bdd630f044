"""What the floors of this part load when they are imported: heavy libraries only when they are needed."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("perfctl.output", ("rich", "numpy", "scipy", "sqlalchemy")),
        ("perfctl.render", ("rich", "numpy", "scipy", "sqlalchemy", "click", "jinja2")),
        ("perfctl.cli.compare", ("rich", "numpy", "scipy", "sqlalchemy")),
        ("perfctl.stats.paired", ("scipy", "click")),
        ("perfctl.stats.precision", ("numpy", "scipy")),
        ("perfctl.validity.thresholds", ("perfctl.facts",)),
        ("perfctl.compare", ("scipy", "click", "rich", "sqlalchemy")),
    ],
)
def test_heavy_libraries_stay_out(module: str, forbidden: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print(*(set({forbidden!r}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == ""


_OF_A_RUN = """
import sys
import perfctl.cli.run, perfctl.cli.run_output, perfctl.execute, perfctl.render.plan, perfctl.plan.request
from perfctl.plan.estimate import PriorVariance, estimate_run
from perfctl.plan.make import make_plan
from perfctl.model import Host
from perfctl.ssh import import_paramiko
from perfctl.suites import load_suite

plan = make_plan(load_suite("cpu"), [Host("h1", "127.0.0.1")], seed="1")
estimate = estimate_run(plan, {item.name: PriorVariance(0.01, 3) for item in plan.benchmarks})
assert all(item.effect for item in estimate.benchmarks), estimate
import_paramiko()
print(*sys.modules)
"""


def test_a_run_that_decides_no_second_stage_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _OF_A_RUN], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = set(done.stdout.split())
    assert {"paramiko", "perfctl.execute.scheduler"} <= loaded
    heavy = {"numpy", "scipy", "sqlalchemy", "alembic", "jinja2", "rich", "yaml", "ansible", "ansible_runner"}
    # paramiko takes `invoke` along where it finds it, and that these two.
    heavy |= {"invoke", "asyncio", "unittest"}
    # Guests, and what is only there for other commands.
    heavy |= {"perfctl.environments.vm", "perfctl.environments.nested", "perfctl.compare", "perfctl.report"}
    assert not heavy & loaded


def test_a_run_is_planned_without_what_is_imported_while_it_connects() -> None:
    modules = "perfctl.cli.run, perfctl.cli.run_output, perfctl.plan.request, perfctl.ssh"
    code = f"import sys, {modules}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    later = {"perfctl.execute", "perfctl.store", "perfctl.facts", "perfctl.validity.rules", "perfctl.job"}
    assert not later & set(done.stdout.split())


def test_what_paramiko_was_not_to_find_can_be_imported_afterwards() -> None:
    code = "from perfctl.ssh import import_paramiko; import_paramiko(); import_paramiko(); import invoke"
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)


def test_what_a_command_leaves_goes_with_its_process() -> None:
    code = (
        "import atexit, gc, sys; atexit.register(lambda: print(gc.get_freeze_count()));"
        " from perfctl.__main__ import main; main(['suites', '--format', 'json'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert int(done.stdout.splitlines()[-1]) > 10_000
