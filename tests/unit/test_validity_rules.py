"""Whether an invocation counts: every rule at and above its limits, and the limits themselves."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from perfctl.errors import UnknownName, UsageError
from perfctl.validity.assessment import Assessment, assess
from perfctl.validity.context import Expected, JudgementContext
from perfctl.validity.counters import InvocationCounters
from perfctl.validity.finding import Severity
from perfctl.validity.kernel_log import KINDS
from perfctl.validity.rules import InvocationVerdict, Validity
from perfctl.validity.thresholds import VALIDITY
from tests.unit.validity_cases import (
    CHANGES,
    DURATION_S,
    NETWORK,
    RULES,
    Reading,
    judge,
    judge_texts,
    later,
    logged,
    rules_of,
)

DATA = Path(__file__).parents[1] / "data" / "facts"
DOCS = Path(__file__).parents[2] / "docs" / "validity.md"

STEPS = {"nic_drops": 0.0001, "retransmits": 0.001, "clock_step": 0.001, "quota": 0.001}
"""By how much a value lies above a limit, where one is too much."""


def step(rule: str) -> float:
    return STEPS.get(rule, 0.005 if "%" in VALIDITY[rule].unit else 1)


MILD = {rule.name: rule.mild for rule in RULES if rule.mild is not None}
SEVERE = {rule.name: rule.severe for rule in RULES if rule.severe is not None}


def test_quiet_seconds_are_valid_and_everything_is_judged():
    assert judge(later()) == Validity()


def test_every_rule_is_tried():
    assert set(CHANGES) == {rule.name for rule in RULES}


@pytest.mark.parametrize("rule", CHANGES)
def test_at_its_lower_limit_a_rule_is_kept(rule):
    after = later()
    CHANGES[rule]({**SEVERE, **MILD}[rule], after)
    assert rules_of(judge(after)) == {}


@pytest.mark.parametrize("rule", MILD)
def test_above_its_mild_limit_a_rule_flags(rule):
    # By default the kind that makes invalid; here one that flags.
    warned = {"kernel_messages": logged("WARNING: CPU: 1 PID: 2 at mm/slub.c:1")}
    after = later()
    {**CHANGES, **warned}[rule](MILD[rule] + step(rule), after)
    validity = judge(after)
    assert rules_of(validity) == {rule: Severity.FLAGGED}
    assert validity.verdict is InvocationVerdict.FLAGGED
    (finding,) = validity.findings
    assert finding.seen == pytest.approx(MILD[rule] + step(rule))
    assert (finding.limit, finding.unit) == (MILD[rule], VALIDITY[rule].unit)
    assert "{value}" not in finding.sentence


@pytest.mark.parametrize("rule", SEVERE)
def test_above_its_severe_limit_a_rule_makes_invalid(rule):
    after = later()
    CHANGES[rule](SEVERE[rule] + step(rule), after)
    validity = judge(after)
    assert rules_of(validity)[rule] is Severity.INVALID
    assert validity.verdict is InvocationVerdict.INVALID


@pytest.mark.parametrize("rule", ["steal", "quota", "clock_step"])
def test_at_its_severe_limit_a_rule_only_flags(rule):
    after = later()
    CHANGES[rule](SEVERE[rule], after)
    assert rules_of(judge(after)) == {rule: Severity.FLAGGED}


@pytest.mark.parametrize("rule", [rule.name for rule in RULES if rule.severe is None])
def test_what_an_environment_may_cause_never_makes_invalid(rule):
    after = later()
    CHANGES[rule](40, after)
    assert rules_of(judge(after))[rule] is Severity.FLAGGED


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_kind_of_a_message_decides(kind):
    line = {
        "heat": "CPU0: Core temperature above threshold, cpu clock throttled (total events = 1)",
        "crash": "sysbench[17]: segfault at 0 ip 000055d6 sp 00007ffe error 4 in sysbench",
        "buffers": "TCP: out of memory -- consider tuning tcp_mem",
        "allocation": "swapper/0: page allocation failure: order:5, mode:0x40cc0(GFP_KERNEL|__GFP_COMP)",
        "memory": "Memory cgroup out of memory: Killed process 1499 (python3) total-vm:320964kB",
        "table": "nf_conntrack: nf_conntrack: table full, dropping packet",
        "link": "igb 0000:01:00.0 eth1: igb: eth1 NIC Link is Down",
        "hardware": "mce: [Hardware Error]: CPU 1: Machine Check: 0 Bank 4: b200000000070005",
        "stall": "watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [qemu:1]",
        "fault": "BUG: unable to handle page fault for address: ffffffff",
        "clock": "clocksource: timekeeping watchdog on CPU1: Marking clocksource 'tsc' as unstable",
        "storage": "blk_update_request: I/O error, dev sda, sector 0 op 0x0:(READ)",
        "warning": "WARNING: CPU: 1 PID: 2 at mm/slub.c:1",
    }[kind.name]
    after = later()
    logged(line)(1, after)
    (finding,) = judge(after).findings
    assert finding.severity is (Severity.INVALID if kind.is_severe else Severity.FLAGGED)
    assert kind.meaning in finding.sentence
    assert line in finding.sentence


# --- limits ---------------------------------


def test_limits_can_be_changed_and_switched_off():
    after = later()
    CHANGES["steal"](20, after)
    assert judge(after).verdict is InvocationVerdict.INVALID
    assert (
        judge(after, rules=VALIDITY.changed("steal", mild=5, severe=None)).verdict
        is InvocationVerdict.FLAGGED
    )
    assert (
        judge(after, rules=VALIDITY.changed("steal", mild=None, severe=None)).verdict
        is InvocationVerdict.VALID
    )


def test_limits_that_make_no_sense_are_refused():
    with pytest.raises(UnknownName, match="no rule 'stael'"):
        VALIDITY.changed("stael", mild=1, severe=2)
    for value in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="limit of steal"):
            VALIDITY.changed("steal", mild=value, severe=None)


def test_limits_and_verdicts_are_plain_values_for_the_database():
    assert json.loads(json.dumps(VALIDITY.limits()))["steal"] == [1, 10]
    after = later()
    CHANGES["swap"](7, after)
    kept = json.loads(json.dumps(asdict(judge(after))))
    assert kept["findings"][0]["sentence"] == "the host swapped 7 pages (7 in, 0 out)"


def test_the_documentation_has_every_rule_and_every_kind():
    text = DOCS.read_text(encoding="utf-8")
    assert VALIDITY.markdown_table("flagged", "invalid") in text, (
        'put the output of VALIDITY.markdown_table("flagged", "invalid") into docs/validity.md'
    )
    assert "`no_counters`" in text
    for kind in KINDS:
        assert f"| {kind.name} | {'invalid' if kind.is_severe else 'flagged'} | {kind.meaning} |" in text


# --- captured on real machines --------------


def captured(case: str, expected: Expected) -> Validity:
    folder = DATA / case
    started_ns, ended_ns = map(int, (folder / "times").read_text(encoding="utf-8").split())
    before, after = ((folder / name).read_bytes() for name in ("before", "after"))
    return judge_texts(before, after, started_ns=started_ns, ended_ns=ended_ns, expected=expected)


def test_a_real_quota_of_somebody_else_makes_invalid():
    found = {item.rule: item for item in captured("counters-host", Expected(cpus=2, parallelism=1)).findings}
    assert found["quota"].severity is Severity.INVALID
    assert found["others_cpu"].seen > 50


def test_a_real_busy_machine_is_flagged_and_missing_sensors_are_named():
    validity = captured("counters-lab-host", replace(NETWORK, cpus=2))
    assert validity.verdict is InvocationVerdict.FLAGGED
    assert set(rules_of(validity)) == {"others_cpu", "pressure_cpu"}
    assert {item.rule for item in validity.unjudged} >= {"heat", "heat_time"}


# --- boots ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempts", "limits", "verdict"),
    [
        (None, (1, None), InvocationVerdict.VALID),
        (1, (1, None), InvocationVerdict.VALID),
        (2, (1, None), InvocationVerdict.FLAGGED),
        (2, (None, 1), InvocationVerdict.INVALID),
        (2, (2, None), InvocationVerdict.VALID),
    ],
)
def test_a_start_that_took_more_boots_than_the_limit_allows(attempts, limits, verdict):
    rules = VALIDITY.changed("boot_attempts", mild=limits[0], severe=limits[1])
    counters = InvocationCounters.parse(
        Reading().bytes(), later().bytes(), started_ns=10**13, ended_ns=10**13 + DURATION_S * 10**9
    )
    judged = assess(counters, JudgementContext(NETWORK, boot_attempts=attempts), {}, rules)
    assert judged.validity.verdict is verdict
    assert [item.rule for item in judged.validity.findings] == ["boot_attempts"] * (
        verdict is not InvocationVerdict.VALID
    )
    assert Assessment.from_json(judged.to_json()) == judged
