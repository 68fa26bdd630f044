"""What the display shows while things happen, recorded as text in tests/data/screens/.

python -m tests.unit.progress_screens        writes the recordings anew; look at what changed
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from perfctl.model import (
    Benchmark,
    Block,
    Environment,
    Event,
    InvocationEnded,
    InvocationStarted,
    Note,
    Plan,
    PlannedInvocation,
    Reason,
    Round,
    RunEnded,
    RunStarted,
    Status,
    Target,
    TaskEnded,
    TaskStarted,
    Track,
)
from perfctl.output.lines import event_line
from perfctl.output.progress import stays
from perfctl.output.state import ProgressState

RECORDED = Path(__file__).parents[1] / "data" / "screens"
WIDTHS = (40, 80, 200)
Moment = float | Event
"""An event, or so many seconds in which nothing happens; the screen is recorded after each wait."""

_LEGS = (
    PlannedInvocation("native", 1, 0),
    PlannedInvocation("container", 1, 1),
    PlannedInvocation("native", 2, 2),
)


def _run() -> Iterator[Moment]:
    """A run of network round trips between three hosts, one of which times out once."""
    pairs = [Target("lab-1", "lab-2"), Target("lab-2", "lab-3"), Target("lab-3", "lab-1")]
    tracks = tuple(Track(tuple(Block("tcp-rr", pair, index, _LEGS) for index in range(4))) for pair in pairs)
    plan = Plan(
        "net",
        "1",
        "native",
        (Environment("native", "native"), Environment("container", "container")),
        (Benchmark("tcp-rr", "netperf", {}, expected_s=5),),
        (Round(tracks),),
    )
    yield Note("info", "", "results go to results.db")
    yield RunStarted("01a2204f-465d-7858-98b5-a6f5b766cc3b", plan, done=0, estimate_s=180)
    blocks = [track.blocks[0] for track in tracks]
    for block in blocks:
        yield InvocationStarted(block, _LEGS[0], 5)
    yield 3.0
    for number, block in enumerate(blocks):
        yield InvocationEnded(block, _LEGS[0], Status.OK, None, "", f"{32_300 + number:,} transactions/s")
    for block in blocks[:2]:
        yield InvocationStarted(block, _LEGS[1], 5)
    yield Note("warning", "lab-2", "the frequency governor is powersave, which widens intervals")
    yield 12.0
    yield InvocationEnded(blocks[0], _LEGS[1], Status.OK, None, "", "30,100 transactions/s", "flagged")
    yield InvocationEnded(blocks[1], _LEGS[1], Status.FAILED, Reason.TIMEOUT, "no end after 60 s", "")
    yield InvocationStarted(blocks[0], _LEGS[2], 5)
    yield 1.0
    yield RunEnded("01a2204f-465d-7858-98b5-a6f5b766cc3b", "partial", 4, 1)
    yield 0.0


def _provision() -> Iterator[Moment]:
    """Two hosts are provisioned; the image takes long, and a package is missing on the second."""
    yield Note("info", "", "2 host(s): lab-1, lab-2 (inventory/lab.yml)")
    for host in ("lab-1", "lab-2"):
        yield TaskStarted(host, "perf_tools: Install the tools")
    yield 4.0
    yield TaskEnded("lab-1", "perf_tools: Install the tools", "changed")
    yield TaskEnded("lab-2", "perf_tools: Install the tools", "failed", "No package matching 'sysbench'")
    yield TaskStarted("lab-1", "perf_bridge: Say whether there is a bridge")
    yield TaskEnded("lab-1", "perf_bridge: Say whether there is a bridge", "skipped")
    yield TaskStarted("lab-1", "perf_image: Build the image")
    yield 95.0
    yield TaskEnded("lab-1", "perf_image: Build the image", "changed")
    yield 1.0


def _lab() -> Iterator[Moment]:
    """A lab of 30 hosts comes up: more than there are lines."""
    yield Note("info", "lab", "30 hosts, networks 172.31.240.0/24 and 10.241.0.0/16")
    for number in range(1, 31):
        yield TaskStarted(f"lab-{number}", "Wait until systemd runs")
    yield 8.0
    for number in range(1, 31):
        yield TaskEnded(f"lab-{number}", "Wait until systemd runs", "ok")
    yield 0.0


SCENES: dict[str, Callable[[], Iterator[Moment]]] = {"run": _run, "provision": _provision, "lab": _lab}


def recording(name: str) -> str:
    """Return all screens of a scene, one below the other, for each width of the terminal."""
    return "\n".join(screen for width in WIDTHS for screen in _screens(SCENES[name](), width))


def _screens(moments: Iterator[Moment], width: int) -> Iterator[str]:
    now = 0.0
    state = ProgressState(lambda: now)
    above: list[str] = []
    for moment in moments:
        if not isinstance(moment, float):
            state.take(moment)
            above += [event_line(moment, state)] if stays(moment) else []
            continue
        now += moment
        shown = [*above, *("| " + line for line in state.lines(width, height=24))]
        yield "".join(f"{line}\n" for line in (f"=== {width} columns, {now:g} s", *shown))


if __name__ == "__main__":
    RECORDED.mkdir(exist_ok=True)
    for each in SCENES:
        (RECORDED / f"{each}.txt").write_text(recording(each))
