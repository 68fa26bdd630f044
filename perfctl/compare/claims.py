"""The words for what is said of several hosts, of a suite, of two runs, and without flagged blocks."""

from __future__ import annotations

from perfctl.compare.wording import blocks_text, describe, factor_interval, headed, p_text, share_text
from perfctl.model import Comparison, Direction, FleetComparison, Reach, RunComparison, SuiteComparison
from perfctl.model.quantity import counted


def fleet_words(item: FleetComparison) -> str:
    """Return e.g. 'different: 1.34x faster (-25%) [1.31-1.37x] p=0.002 q=0.01 n=10 blocks x 8 hosts'.

    Where the hosts disagree (I^2 > 50 %) the range comes first. Few hosts are 'these hosts only'.
    """
    if item.ratio is None:
        return headed(item.note, item.judgement, is_emulated=item.is_emulated, units="hosts")
    middle = " ".join(
        filter(
            None,
            [
                describe(item.ratio, item.metric.direction),
                factor_interval(item.ratio, item.low, item.high),
                p_text(item.p),
                p_text(item.judgement.q, "q"),
                f"n={_blocks(item)} x {_targets(item)}{_reach(item)}",
            ],
        )
    )
    text = f"{range_text(item)}; together {middle}" if item.disagree else middle
    units = "hosts" if item.reach is Reach.FLEET else "blocks on each"
    if item.reach is not Reach.FLEET and len(item.hosts[0].blocks) > 1:
        units = "blocks on each in each run"
    return headed(text, item.judgement, is_emulated=item.is_emulated, units=units)


def range_text(item: FleetComparison) -> str:
    """Return e.g. 'from 1.05x slower (+5.0%) to 1.40x slower (+40%)'."""
    if item.lowest is None or item.highest is None:
        return ""
    ends = [describe(end, item.metric.direction) for end in (item.lowest, item.highest)]
    return f"from {ends[0]} to {ends[1]}"


def suite_words(item: SuiteComparison) -> str:
    """Return e.g. 'different: 1.12x slower (+12%) [1.08-1.16x] p=0.002 n=5 benchmarks x 8 hosts'."""
    scope = "pair" if item.scope == "pair" else "host"
    if item.ratio is None:
        text = f"no mean: {item.note}"
    else:
        reach = ", these only" if item.reach is Reach.THESE_HOSTS else ""
        size = f"n={counted(len(item.benchmarks), 'benchmark')} x {counted(len(item.targets), scope)}{reach}"
        figures = [
            describe(item.ratio, Direction.LOWER),
            factor_interval(item.ratio, item.low, item.high),
            p_text(item.p),
            p_text(item.judgement.q, "q"),
            size,
        ]
        text = " ".join(filter(None, figures))
    return headed(text, item.judgement, is_emulated=item.is_emulated, units="blocks")


def run_words(item: RunComparison) -> str:
    """Return what became of the ratio, e.g. 'different: 1.05x slower than before (+5.0%) [...] ...'."""
    if item.ratio is None:
        return headed(item.note, item.judgement, is_emulated=item.is_emulated, units="blocks in each")
    figures = [
        describe(item.ratio, item.metric.direction),
        factor_interval(item.ratio, item.low, item.high),
        p_text(item.p),
        p_text(item.judgement.q, "q"),
        f"n={blocks_text(item.blocks)}",
    ]
    text = " ".join(filter(None, figures))
    return headed(text, item.judgement, is_emulated=item.is_emulated, units="blocks in each")


def raw_words(item: RunComparison) -> str:
    """Return the change of the values themselves: confounded by time, so it has no verdict."""
    if item.raw_ratio is None:
        return ""
    text = describe(item.raw_ratio, item.metric.direction)
    return " ".join(filter(None, [text, factor_interval(item.raw_ratio, item.raw_low, item.raw_high)]))


def sensitivity(item: Comparison) -> str:
    """Return the verdict without the flagged blocks, '' where none is flagged."""
    other = item.without_flagged
    if other is None:
        return ""
    flagged = counted(len(item.flagged), "flagged block")
    if other.ratio is None:
        return f"without {flagged}: {other.judgement.verdict}"
    figures = [
        describe(other.ratio, item.metric.direction),
        factor_interval(other.ratio, other.low, other.high),
        p_text(other.p),
        p_text(other.judgement.q, "q"),
    ]
    return f"without {flagged}: {other.judgement.verdict}: {' '.join(filter(None, figures))}"


def verdict_depends_on_flagged(item: Comparison) -> bool:
    """Return whether the verdict is another one without the flagged blocks."""
    if item.without_flagged is None or item.judgement is None:
        return False
    return item.without_flagged.judgement.verdict is not item.judgement.verdict


def _blocks(item: FleetComparison) -> str:
    counts = {host.blocks for host in item.hosts}
    if len(counts) == 1:
        return blocks_text(next(iter(counts)))
    runs = zip(*counts, strict=True)
    return f"{' and '.join(f'{min(run)}-{max(run)}' for run in runs)} blocks"


def _targets(item: FleetComparison) -> str:
    pairs = item.hosts[0].target.peer is not None
    return counted(len(item.hosts), "pair" if pairs else "host")


def _reach(item: FleetComparison) -> str:
    parts = ["these only"] if item.reach is Reach.THESE_HOSTS else []
    parts += [] if item.i2 is None else [f"I^2 {share_text(item.i2)}"]
    return f" ({', '.join(parts)})" if parts else ""
