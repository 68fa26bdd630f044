"""The table of kinds: complete, and the only place that knows what a kind is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

import pytest

from perfctl.environments import CATALOGUE, KINDS, environment, traits_of
from perfctl.environments.drivers import driver_for, start_argv
from perfctl.environments.kinds import FIELDS, boots, has_own_network
from perfctl.model import Environment
from perfctl.model.environment import Kind

PACKAGE = Path(__file__).parents[2] / "perfctl"
NATIVE, CONTAINER, GUEST = (environment(name) for name in ("native", "container", "vm"))
SANDBOX = replace(CONTAINER, runtime="runsc")


def test_every_kind_has_its_traits() -> None:
    assert set(KINDS) == set(get_args(Kind)) == {each.kind for each in CATALOGUE.values()}


def test_every_field_of_an_environment_may_be_set_in_some_kind() -> None:
    # A seccomp profile is the file that `security_opt` names.
    not_set = {"name", "kind", "seccomp_profile"}
    assert set(FIELDS) == {field.name for field in fields(Environment)} - not_set


@pytest.mark.parametrize("kind", KINDS)
def test_traits_go_together(kind: Kind) -> None:
    traits = KINDS[kind]
    assert set(traits.defaults) <= set(traits.fields)
    assert set(traits.instead) <= set(FIELDS) - set(traits.fields)
    assert {"env", "server", "memory_mib"} <= set(traits.fields)
    assert traits.is_made or not (traits.is_overhead or traits.has_own_kernel or traits.boots)
    assert traits.usual_overhead_s > 0 and traits.min_memory_mib > 0


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_built_in_environment_has_a_driver_and_says_how_it_is_made(name: str) -> None:
    each = environment(name)
    made = driver_for(each, run_id="r", invocation_id="i", host_address="192.0.2.1")
    assert callable(made.open) and callable(made.check)
    assert bool(start_argv(each)) == KINDS[each.kind].is_made


@pytest.mark.parametrize(
    ("each", "has_its_own"),
    [
        (NATIVE, False),
        (CONTAINER, True),
        (replace(CONTAINER, network="host"), False),
        (GUEST, True),
        (replace(CONTAINER, network="host", within=GUEST), True),
        (replace(SANDBOX, network="host"), True),
    ],
)
def test_whose_network_it_is(each: Environment, has_its_own: bool) -> None:
    assert has_own_network(each) == has_its_own


@pytest.mark.parametrize(
    ("runtime", "brings_one"),
    [
        (None, False),
        ("runc", False),
        ("crun", False),
        ("runsc", True),
        ("io.containerd.runsc.v1", True),
        ("kata-runtime", True),
        ("io.containerd.kata-fc.v2", True),
    ],
)
def test_a_runtime_may_bring_a_kernel_of_its_own(runtime: str | None, brings_one: bool) -> None:
    assert traits_of(replace(CONTAINER, runtime=runtime)).has_own_kernel == brings_one


def test_what_boots_is_a_guest_on_either_side() -> None:
    booted = [name for name in CATALOGUE if boots(environment(name))]
    assert booted == ["vm", "container-in-vm", "vm-to-container", "vm-to-native"]
    assert boots(replace(NATIVE, server=GUEST))


# ---- nothing else compares the name of a kind --------------------------------------------------------------


def _asks_for_a_kind(node: ast.AST) -> bool:
    """Return whether a comparison is about `.kind`, or holds something called kind against one's name."""
    if not isinstance(node, ast.Compare):
        return False
    parts = [part for side in (node.left, *node.comparators) for part in ast.walk(side)]
    if any(isinstance(part, ast.Attribute) and part.attr == "kind" for part in parts):
        return True
    names = {part.id for part in parts if isinstance(part, ast.Name)}
    values = {part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)}
    return any("kind" in name for name in names) and bool(values & set(KINDS))


def _modules() -> Iterator[Path]:
    for path in sorted(PACKAGE.rglob("*.py")):
        if "environments" not in path.relative_to(PACKAGE).parts:
            yield path


def test_nothing_outside_the_package_compares_kinds() -> None:
    asking = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in _modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Compare) and _asks_for_a_kind(node)
    ]
    assert asking == [], "ask for a trait instead: perfctl.environments.traits_of"


def test_no_sql_outside_the_package_names_a_kind() -> None:
    in_sql = re.compile(rf"\bkind\b[^\w']*(IN \()?'({'|'.join(KINDS)})'", re.IGNORECASE)
    assert in_sql.search("WHERE kind = 'native'") and in_sql.search("kind IN ('vm', 'container')")
    texts = (*_modules(), *(PACKAGE / "store").rglob("*.sql"))
    assert [path.name for path in texts if in_sql.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    ("code", "asks"),
    [
        ('environment.kind == "vm"', True),
        ('environment.kind != "native"', True),
        ('"vm" in (one.kind, other.kind)', True),
        ('kind in ("native", "vm")', True),
        ('kind == "playbook_on_stats"', False),
        ('name == "native"', False),
        ("traits_of(environment).boots", False),
    ],
)
def test_a_comparison_of_kinds_is_seen(code: str, asks: bool) -> None:
    assert any(map(_asks_for_a_kind, ast.walk(ast.parse(code)))) == asks
