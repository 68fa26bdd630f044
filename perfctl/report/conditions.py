"""Differences between two runs or hosts beside the figures: what a comparison may be confounded by."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfctl.model import Comparison, FactState, Fingerprint
from perfctl.store import RunDetail

if TYPE_CHECKING:
    from perfctl.store import RunReader

DIMENSIONS = ("host", "kernel", "tool", "image", "accelerator", "settings")
"""What `--by` may name. `settings` are all other static facts of a host: they mark, and never refuse."""

_HARDWARE = (
    *("cpu.model", "cpu.stepping", "cpu.online", "memory.total"),
    # What names a processor, or the machine, where there is no model name: ARM, POWER, s390.
    *("cpu.arm_part", "cpu.arm_variant", "cpu.revision", "cpu.identity", "cpu.machine"),
)
_KERNEL = ("kernel.release", "kernel.version")
_IMAGE = "environment.image.id"
_SHOWN = 5

Programs = Mapping[str, Collection[str]]
_Add = Callable[[str, str], None]
Differences = dict[str, str]
"""Dimension -> what differs, in words."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """The facts of one run: of its hosts, and of its environments on them. Made by `conditions`."""

    hosts: Mapping[str, Mapping[str, str]]
    images: Mapping[tuple[str, str], str]
    digests: Mapping[tuple[str, str], Mapping[str, str]]


def conditions(run: RunReader) -> Conditions:
    """Return what was recorded of a run's hosts and environments."""
    detail = run.detail()
    names = [item.name for item in detail.environments]
    hosts, images = {}, {}
    for host in detail.summary.hosts:
        hosts[host] = _static(run.facts(host))
        for environment in names:
            image = run.facts(host, environment).get(_IMAGE)
            if image is not None and image.state is FactState.PRESENT:
                images[host, environment] = image.value
    return Conditions(hosts, images, run.digests())


def _static(facts: Fingerprint) -> dict[str, str]:
    return {
        fact.name: fact.value
        for fact in facts.facts
        if fact.is_static and fact.state is FactState.PRESENT and not fact.name.startswith("tool.")
    }


def redefined(first: RunDetail, second: RunDetail) -> set[tuple[str, str]]:
    """Return ('benchmark' or 'environment', name) of what has one name in both runs and is not the same."""
    kinds = (
        ("benchmark", first.benchmarks, second.benchmarks),
        ("environment", first.environments, second.environments),
    )
    found = set()
    for kind, ours, theirs in kinds:
        keys = {item.name: item.key for item in theirs}
        found |= {(kind, item.name) for item in ours if keys.get(item.name, item.key) != item.key}
    return found


def differences(
    one: Comparison, two: Comparison, first: Conditions, second: Conditions, programs: Programs
) -> Differences:
    """Return what else differs between the two sides. A fact that only one side has differs as well."""
    found: dict[str, list[str]] = {}

    def add(dimension: str, text: str) -> None:
        found.setdefault(dimension, []).append(text)

    guests = ((one.accelerator, two.accelerator), (one.baseline_accelerator, two.baseline_accelerator))
    for here, there in guests:
        if here != there:
            add("accelerator", f"accelerator {here or 'none'} -> {there or 'none'}")
    for host, other in ((one.target.host, two.target.host), (one.target.peer, two.target.peer)):
        if host is None or other is None:
            continue
        if host != other:
            add("host", f"host {host} -> {other}")
        _of_hosts(add, host, first.hosts.get(host, {}), second.hosts.get(other, {}))
        used = programs.get(one.benchmark)
        for environment in (one.environment, one.baseline):
            _of_environments(add, (host, environment), (other, environment), first, second, used)
    return {dimension: ", ".join(dict.fromkeys(texts)) for dimension, texts in found.items()}


def _of_environments(
    add: _Add,
    here: tuple[str, str],
    there: tuple[str, str],
    first: Conditions,
    second: Conditions,
    used: Collection[str] | None,
) -> None:
    place = f"{here[1]} on {here[0]}"
    image, other_image = first.images.get(here), second.images.get(there)
    if image != other_image:
        add("image", f"image of {place} {_brief(image)} -> {_brief(other_image)}")
    digests, others = first.digests.get(here, {}), second.digests.get(there, {})
    for program in sorted(digests.keys() | others.keys()):
        if digests.get(program) != others.get(program) and (used is None or program in used):
            change = f"{_brief(digests.get(program))} -> {_brief(others.get(program))}"
            add("tool", f"{program} in {place} {change}")


def _of_hosts(add: _Add, host: str, here: Mapping[str, str], there: Mapping[str, str]) -> None:
    if not here and not there:
        return
    changed = [name for name in sorted(here.keys() | there.keys()) if here.get(name) != there.get(name)]
    for name in changed:
        text = f"{name} on {host} {_brief(here.get(name))} -> {_brief(there.get(name))}"
        if name in _HARDWARE:
            add("host", text)
        elif name in _KERNEL:
            add("kernel", text)
    rest = [name for name in changed if name not in (*_HARDWARE, *_KERNEL)]
    if rest:
        more = f" and {len(rest) - _SHOWN} more" if len(rest) > _SHOWN else ""
        add("settings", f"settings of {host}: {', '.join(rest[:_SHOWN])}{more}")


def _brief(value: str | None) -> str:
    if value is None:
        return "unknown"
    text = value.removeprefix("sha256:").split("\n")[0]
    is_hash = len(text) == 64 and all(letter in "0123456789abcdef" for letter in text)
    return text[:12] if is_hash else text[:60]
