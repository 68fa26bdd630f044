"""A comparison as one sentence. It says what was seen and how sure it is; it never says significant."""

from __future__ import annotations

from perfctl.compare.formatting import (
    EMULATED,
    format_blocks,
    format_difference,
    format_difference_interval,
    format_interval,
    format_labelled_p,
    format_n,
    format_ratio,
    format_share_of_baseline,
)
from perfctl.compare.verdicts import NOT_SEEN
from perfctl.model import (
    Comparison,
    Direction,
    FleetComparison,
    Judgement,
    Reach,
    RunComparison,
    SuiteComparison,
    Verdict,
)
from perfctl.model.quantity import counted, percent
from perfctl.stats.precision import PILOT_BLOCKS


def format_comparison(item: Comparison) -> str:
    """Return e.g. 'different: 1.34x slower, 95 % CI 1.31 to 1.37, p=0.002, q=0.010, n=10 blocks'.

    The verdict stands in front where there is one; an inconclusive one ends with what it would detect and
    what it needs. A time also has its absolute cost: '1.34x slower (+3.40 ms)'. What does not exist is left
    out; without a ratio the note stands in. Emulated figures are headed as such.
    """
    return _judged(_figures(item), item.judgement, format_needs(item), is_emulated=item.is_emulated)


def format_fleet(item: FleetComparison) -> str:
    """Return the same of several hosts: '..., n=10 blocks x 8 hosts'. If they disagree, their range leads."""
    text = _figures(item)
    if item.disagree:
        text = f"{format_host_range(item)}; together {text}"
    return _judged(text, item.judgement, format_needs(item), is_emulated=item.is_emulated)


def format_run_comparison(item: RunComparison) -> str:
    """Return the change of the ratio from one run to the other: '..., n=10 and 12 blocks'."""
    return _judged(_figures(item), item.judgement, format_needs(item), is_emulated=item.is_emulated)


def format_suite(item: SuiteComparison) -> str:
    """Return e.g. 'different: 1.12x slower, 95 % CI 1.08 to 1.16, p=0.002, n=5 benchmarks x 8 hosts'."""
    if item.ratio is None:
        text = f"no mean: {item.note}"
    else:
        reach = " (these only)" if item.reach is Reach.THESE_HOSTS else ""
        size = f"{counted(len(item.benchmarks), 'benchmark')} x {counted(len(item.targets), item.scope)}"
        text = _joined(
            format_ratio(item.ratio, Direction.LOWER),
            _interval(item.ratio, item.low, item.high),
            *_tests(item.p, item.judgement),
            f"n={size}{reach}",
        )
    return _judged(text, item.judgement, "", is_emulated=item.is_emulated)


def format_effect(item: Comparison | FleetComparison) -> str:
    """Return the figures without verdict, p and q, e.g. '1.34x slower, 95 % CI 1.31 to 1.37, n=10 blocks'."""
    return _figures(item, has_tests=False)


def format_needs(item: Comparison | RunComparison | FleetComparison, suite: str = "") -> str:
    """Return e.g. 'would detect 18 % or more with 12 blocks; needs about 40 blocks'; '' unless inconclusive.

    What it needs is for an effect that stays as it was estimated; the smaller it is, the more it takes. With
    a `suite` the command that measures so many blocks follows, or what else would decide.
    """
    judgement = item.judgement
    if judgement is None or judgement.verdict is not Verdict.INCONCLUSIVE:
        return ""
    found = []
    if judgement.mde is not None:
        found.append(f"would detect {percent(judgement.mde)} or more with {_size(item)}")
    if judgement.to_decide is not None:
        found.append(f"needs about {judgement.to_decide:,} {_unit_needed(item)}")
    text = "; ".join(found)
    if not suite or item.is_emulated:
        return text
    return f"{text}{_command(item, judgement, suite, ': ' if judgement.to_decide else '; ' if text else '')}"


def _command(
    item: Comparison | RunComparison | FleetComparison, judgement: Judgement, suite: str, gap: str
) -> str:
    """Return what would decide: a command where blocks would, else what to look at."""
    if judgement.to_decide is not None:
        if isinstance(item, FleetComparison) and item.reach is Reach.FLEET:
            return f"{gap}perfctl run --suite {suite} with so many in the inventory"
        return f"{gap}perfctl run --suite {suite} --blocks {judgement.to_decide}"
    if isinstance(item, FleetComparison) and item.disagree:
        return f"{gap}to decide: the lines of its hosts, each alone"
    if item.ratio is None:
        return f"{gap}to decide: blocks with both values; perfctl show says what failed"
    if judgement.why.endswith(NOT_SEEN):
        return f"{gap}to decide: a metric with more digits, perfctl compare --all-metrics lists them"
    if "zero variance" in judgement.why or "ties" in judgement.why:
        return f"{gap}to decide: longer measurements (--param), for more blocks would be as equal"
    more = 2 * max(_most_blocks(item), PILOT_BLOCKS)
    return (
        f"{gap}to decide: many more blocks, perfctl run --suite {suite} --blocks {more}, or a smaller suite"
    )


def _most_blocks(item: Comparison | RunComparison | FleetComparison) -> int:
    if isinstance(item, Comparison):
        return item.blocks
    if isinstance(item, RunComparison):
        return max(item.blocks)
    return max(max(host.blocks) for host in item.hosts)


def format_host_range(item: FleetComparison) -> str:
    """Return e.g. 'from 1.05x slower to 1.40x slower'."""
    if item.lowest is None or item.highest is None:
        return ""
    ends = [format_ratio(end, item.metric.direction) for end in (item.lowest, item.highest)]
    return f"from {ends[0]} to {ends[1]}"


def format_without_flagged(item: Comparison) -> str:
    """Return the verdict without the flagged blocks, '' where none is flagged."""
    other = item.without_flagged
    if other is None:
        return ""
    text = f"without {counted(len(item.flagged), 'flagged block')}: {other.judgement.verdict}"
    if other.ratio is None:
        return text
    ratio = format_ratio(other.ratio, item.metric.direction)
    interval = _interval(other.ratio, other.low, other.high)
    return f"{text}: {_joined(ratio, interval, *_tests(other.p, other.judgement))}"


def verdict_depends_on_flagged(item: Comparison) -> bool:
    """Return whether the verdict is another one without the flagged blocks."""
    if item.without_flagged is None or item.judgement is None:
        return False
    return item.without_flagged.judgement.verdict is not item.judgement.verdict


def _judged(text: str, judgement: Judgement | None, needs: str, *, is_emulated: bool) -> str:
    """Return the text with the verdict in front and what it needs behind."""
    if judgement is not None:
        text = f"{judgement.verdict}: {text}" if text else str(judgement.verdict)
    parts = [EMULATED if is_emulated else "", text, needs]
    return "; ".join(filter(None, parts))


def _figures(item: Comparison | RunComparison | FleetComparison, *, has_tests: bool = True) -> str:
    if item.ratio is None:
        return item.note
    ratio = format_ratio(item.ratio, item.metric.direction)
    if isinstance(item, Comparison) and (cost := _cost(item)):
        ratio += f" ({cost})"
    tests = _tests(item.p, item.judgement) if has_tests else ()
    return _joined(
        ratio, _interval(item.ratio, item.low, item.high), *tests, f"n={_size(item)}{_reach(item)}"
    )


def _interval(ratio: float, low: float | None, high: float | None) -> str:
    text = format_interval(ratio, low, high)
    return f"95 % CI {text}" if text else ""


def _tests(p: float | None, judgement: Judgement | None) -> tuple[str, str]:
    return format_labelled_p(p), format_labelled_p(judgement.q if judgement else None, "q")


def _joined(*parts: str) -> str:
    return ", ".join(filter(None, parts))


def _cost(item: Comparison) -> str:
    if not item.metric.show_difference or item.difference is None:
        return format_share_of_baseline(item)
    interval = format_difference_interval(item)
    return format_difference(item) + (f", {interval}" if interval else "")


def _size(item: Comparison | RunComparison | FleetComparison) -> str:
    """Return e.g. '10 blocks', '10 and 12 blocks', '7-10 blocks x 2 hosts'."""
    if isinstance(item, Comparison):
        return format_blocks([item.blocks])
    if isinstance(item, RunComparison):
        return format_blocks(item.blocks)
    blocks = format_n(item).rpartition(" x ")[0].replace(", ", " and ")
    hosts = counted(len(item.hosts), "pair" if item.hosts[0].target.peer else "host")
    of = "block" if blocks == "1" else "blocks"
    return f"{blocks} {of} x {hosts}"


def _reach(item: Comparison | RunComparison | FleetComparison) -> str:
    if not isinstance(item, FleetComparison):
        return ""
    parts = ["these only"] if item.reach is Reach.THESE_HOSTS else []
    parts += [] if item.i2 is None else [f"I^2 {percent(item.i2)}"]
    return f" ({', '.join(parts)})" if parts else ""


def _unit_needed(item: Comparison | RunComparison | FleetComparison) -> str:
    if isinstance(item, Comparison):
        return "blocks"
    if isinstance(item, RunComparison):
        return "blocks in each run"
    if item.reach is Reach.FLEET:
        return "hosts"
    place = "pair" if item.hosts[0].target.peer else "host"
    return f"blocks on each {place}" + (" in each run" if len(item.hosts[0].blocks) > 1 else "")
