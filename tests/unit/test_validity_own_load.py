"""What a benchmark does to its host on purpose is not held against it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perfctl.validity.context import Expected
from perfctl.validity.rules import InvocationVerdict, Validity
from perfctl.validity.thresholds import VALIDITY
from tests.unit.validity_cases import (
    CHANGES,
    GROUP,
    NETWORK,
    SNMP_HEAD,
    TICKS,
    WINDOW_S,
    Reading,
    judge,
    judge_texts,
    later,
    rules_of,
)


def busy(share: float, *, own: bool) -> Reading:
    """Return a reading after which tasks used `share` percent of the CPU time, or all pressure of it."""
    after = later()
    used = round(TICKS * share / 100) - TICKS // 4
    after.ticks["user"] += used
    after.ticks["idle"] -= used
    if own:
        after.group["usage_usec"] += used * 10_000
    after.stall_us["cpu"] += round(WINDOW_S * 1e6)
    return after


def test_a_benchmark_that_keeps_all_cpus_busy_does_not_condemn_itself():
    validity = judge(busy(100, own=True), replace(NETWORK, parallelism=2))
    assert validity.verdict is InvocationVerdict.VALID
    assert [item.rule for item in validity.unjudged] == ["pressure_cpu"]


def test_more_threads_than_cpus_do_not_either():
    assert judge(busy(100, own=True), replace(NETWORK, parallelism=64)).verdict is InvocationVerdict.VALID


def test_the_same_load_of_others_is_seen():
    assert "others_cpu" in rules_of(judge(busy(100, own=False), replace(NETWORK, parallelism=2)))


def test_interrupts_belong_to_nobody():
    after = later()
    text = after.bytes().replace(b" 0 0 0 10000 0 0", b" 0 4000 4000 10000 0 0", 1)
    expected = NETWORK
    validity = judge_texts(Reading().bytes(), text, started_ns=0, ended_ns=10**10, expected=expected)
    assert validity.verdict is InvocationVerdict.VALID


def test_more_own_time_than_ticks_were_counted_is_no_negative_load():
    after = later()
    after.group["usage_usec"] += 10**6
    rules = VALIDITY.changed("others_cpu", mild=0, severe=None)
    assert judge(after, rules=rules).verdict is InvocationVerdict.VALID


def without_own() -> tuple[Reading, Reading]:
    before, after = Reading(), busy(80, own=False)
    before.without.add(f"{GROUP}/cpu.stat")
    after.without.add(f"{GROUP}/cpu.stat")
    after.stall_us["cpu"] = 1000
    return before, after


def test_without_its_own_time_the_benchmark_is_given_all_it_can_use():
    before, after = without_own()
    (finding,) = judge(after, replace(NETWORK, parallelism=1), before).findings
    assert finding.rule == "others_cpu"
    assert finding.seen == pytest.approx(30)
    assert "at least" in finding.sentence


@pytest.mark.parametrize("parallelism", [None, 2])
def test_what_it_may_have_used_itself_is_not_judged(parallelism):
    before, after = without_own()
    validity = judge(after, replace(NETWORK, parallelism=parallelism), before)
    assert validity.findings == ()
    assert "others_cpu" in {item.rule for item in validity.unjudged}


def test_a_container_whose_group_was_not_read_is_not_taken_for_others():
    validity = judge(busy(100, own=False), replace(NETWORK, parallelism=2, is_own_cpu_read=False))
    assert validity.findings == ()
    assert "others_cpu" in {item.rule for item in validity.unjudged}


@pytest.mark.parametrize(
    ("own_s", "verdict"), [(200, InvocationVerdict.VALID), (100, InvocationVerdict.FLAGGED)]
)
def test_own_time_that_is_known_otherwise_counts(own_s, verdict):
    expected = replace(NETWORK, parallelism=2, is_own_cpu_read=False)
    validity = judge_texts(
        Reading().bytes(),
        busy(100, own=False).bytes(),
        started_ns=0,
        ended_ns=10**10,
        expected=expected,
        own_cpu_us=own_s * 10**6,
    )
    assert validity.verdict is verdict


def test_a_quota_of_the_environment_is_its_cost():
    after = later()
    CHANGES["quota"](50, after)
    CHANGES["pressure_cpu"](50, after)
    validity = judge(after, replace(NETWORK, has_cpu_quota=True))
    assert validity.verdict is InvocationVerdict.VALID
    assert {item.rule for item in validity.unjudged} == {"quota", "pressure_cpu"}


def test_a_storage_benchmark_waits_for_its_own_disk():
    after = later()
    CHANGES["pressure_io"](90, after)
    validity = judge(after, Expected(cpus=2, parallelism=1, uses=frozenset({"storage"})))
    assert validity.verdict is InvocationVerdict.VALID
    assert [item.rule for item in validity.unjudged] == ["pressure_io"]


def test_who_uses_no_network_is_not_judged_by_it():
    after = later()
    for rule in ("retransmits", "nic_drops", "nic_errors", "link_lost"):
        CHANGES[rule](10, after)
    assert judge(after, Expected(cpus=2, parallelism=1)) == Validity()


def test_tcp_in_a_namespace_of_its_own_is_not_the_hosts():
    after = later()
    CHANGES["retransmits"](10, after)
    expected = replace(NETWORK, shares_host_network=False)
    validity = judge(after, expected)
    assert validity.findings == ()
    assert [item.rule for item in validity.unjudged] == ["retransmits"]


def test_tcp_of_its_own_namespace_counts_when_it_is_read():
    before, after = Reading(), later()
    before.extra["/proc/77/net/snmp"] = f"{SNMP_HEAD}\nTcp: 1 10 0"
    after.extra["/proc/77/net/snmp"] = f"{SNMP_HEAD}\nTcp: 1 100010 5000"
    (finding,) = judge(after, replace(NETWORK, shares_host_network=False), before).findings
    assert (finding.rule, finding.seen) == ("retransmits", 5)
