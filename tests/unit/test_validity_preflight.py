"""Whether a host is fit to be measured: every rule below, at and above its limits, and missing facts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from perfctl.model import Fact, FactState, Fingerprint
from perfctl.validity.finding import Severity
from perfctl.validity.preflight import Preflight, judge_host
from perfctl.validity.thresholds import PREFLIGHT
from tests.captured_facts import fingerprint_of

DOCS = Path(__file__).parents[2] / "docs" / "validity.md"

SWAPS = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority"

QUIET = {
    "host.boot_id": "b1",
    "vm.virtualization": "none",
    "cpu.online": "0-3",
    "load.average": "0.10 0.20 0.30 1/200 1234",
    "load.pressure": "\n".join(
        f"{resource}: some avg10=0.00 avg60=0.00 avg300=0.00 total=1" for resource in ("cpu", "io", "memory")
    ),
    "load.cpu_ticks": "cpu  1000 0 1000 98000 0 0 0 0 0 0",
    "load.neighbours": "",
    "memory.swaps": SWAPS,
    "cpu.throttle": "core_throttle_count=0: 0-3\npackage_throttle_count=0: 0-3",
    "cpu.freq.governor": "performance: 0-3",
    "cpu.freq.driver": "intel_cpufreq: 0-3",
    "cpu.freq.max": "3600000: 0-3",
    "cpu.freq.hardware_max": "3600000: 0-3",
    "cpu.intel_no_turbo": "0",
}


def host(**changes: str | None) -> Fingerprint:
    """Return a quiet host's facts with some changed ('__' stands for the dot) or missing (None)."""
    texts: dict[str, str | None] = dict(QUIET)
    texts.update({name.replace("__", "."): text for name, text in changes.items()})
    return Fingerprint(
        tuple(
            Fact(name, FactState.MISSING if text is None else FactState.PRESENT, text or "")
            for name, text in texts.items()
        )
    )


def pressure(resource: str, share: float) -> str:
    return QUIET["load.pressure"].replace(
        f"{resource}: some avg10=0.00", f"{resource}: some avg10={share:.2f}"
    )


def severities(checked: Preflight) -> dict[str, Severity]:
    return {finding.rule: finding.severity for finding in checked.findings}


def load(per_cpu: float) -> Fingerprint:
    return host(load__average=f"{per_cpu * 4:.2f} 0.20 0.30 1/200 1234")


CHANGES: dict[str, Callable[[float], Fingerprint]] = {
    "load": load,
    "pressure_cpu": lambda share: host(load__pressure=pressure("cpu", share)),
    "pressure_memory": lambda share: host(load__pressure=pressure("memory", share)),
    "pressure_io": lambda share: host(load__pressure=pressure("io", share)),
    "steal": lambda share: host(
        load__cpu_ticks=f"cpu 0 0 0 {100_000 - share * 1000:.0f} 0 0 0 {share * 1000:.0f}"
    ),
    "swap": lambda kib: host(memory__swaps=f"{SWAPS}\n/dev/vda2 partition 999 {kib:.0f} -2"),
    "heat": lambda times: host(cpu__throttle=f"core_throttle_count={times:.0f}: 0-3"),
    "neighbours": lambda count: host(load__neighbours=f"qemu-system-x86: {count:.0f}"),
    "governor": lambda cpus: host(
        cpu__freq__governor="performance: 0-3" if not cpus else f"powersave: 0-{cpus - 1:.0f}\nperformance: 3"
    ),
    "frequency_cap": lambda cpus: host(
        cpu__freq__max="3600000: 0-3" if not cpus else f"2000000: 0-{cpus - 1:.0f}\n3600000: 3"
    ),
}
"""Rule -> the facts of a host of which a value of it is seen. Changed settings have tests of their own."""


MILD = {rule.name: rule.mild for rule in PREFLIGHT.rules if rule.mild is not None}


def above(rule: str) -> float:
    return {"load": 0.01}.get(rule, 0.01 if "%" in PREFLIGHT[rule].unit else 1)


def test_a_quiet_host_has_nothing_against_it():
    assert judge_host(host(), previous=host()) == Preflight((), ())


def test_every_rule_is_tried():
    assert {*CHANGES, "changed_frequency"} == {rule.name for rule in PREFLIGHT.rules}


@pytest.mark.parametrize("rule", CHANGES)
def test_at_its_limit_a_rule_says_nothing(rule):
    assert severities(judge_host(CHANGES[rule](MILD[rule]))) == {}


@pytest.mark.parametrize("rule", CHANGES)
def test_above_its_mild_limit_a_rule_warns(rule):
    (finding,) = judge_host(CHANGES[rule](MILD[rule] + above(rule))).findings
    assert (finding.rule, finding.severity) == (rule, Severity.WARN)
    assert finding.seen == pytest.approx(MILD[rule] + above(rule))
    assert "{value}" not in finding.sentence
    assert finding.hint


def test_a_host_out_of_memory_is_refused():
    assert severities(judge_host(CHANGES["pressure_memory"](20))) == {"pressure_memory": Severity.WARN}
    checked = judge_host(CHANGES["pressure_memory"](20.01))
    assert [finding.rule for finding in checked.refusals] == ["pressure_memory"]
    assert "--force" in checked.refusals[0].hint


@pytest.mark.parametrize(
    ("per_cpu", "waited", "refused"),
    [
        (1.01, 50.01, {"load", "pressure_cpu"}),
        (1.01, 50, set()),  # the last run's load; nobody waits any more
        (1, 50.01, set()),  # our own doing of the last seconds
        (9, 0, set()),
        (0, 99, set()),
    ],
)
def test_a_busy_host_is_refused_when_minute_and_seconds_agree(per_cpu, waited, refused):
    facts = host(load__average=f"{per_cpu * 4} 0 0 1/2 3", load__pressure=pressure("cpu", waited))
    assert {finding.rule for finding in judge_host(facts).refusals} == refused


def test_without_pressure_the_load_decides():
    facts = host(load__average="4.01 0 0 1/2 3", load__pressure=None)
    assert [finding.rule for finding in judge_host(facts).refusals] == ["load"]


def test_a_host_that_is_a_container_is_never_refused_for_the_machines_load():
    facts = host(
        vm__virtualization="docker",
        load__average="40 0 0 1/2 3",
        load__pressure=pressure("cpu", 98).replace("memory: some avg10=0.00", "memory: some avg10=60.00"),
    )
    checked = judge_host(facts)
    assert severities(checked) == dict.fromkeys(("load", "pressure_cpu", "pressure_memory"), Severity.WARN)
    assert all("whole machine" in finding.sentence for finding in checked.findings)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("cpu.freq.governor", "performance: 0-3", "powersave: 0-3"),
        ("cpu.freq.driver", "intel_cpufreq: 0-3", "intel_pstate: 0-3"),
        ("cpu.intel_no_turbo", "1", "0"),
        ("cpu.freq.governor", None, "performance: 0-3"),
    ],
)
def test_changed_frequency_settings_are_refused(name, old, new):
    checked = judge_host(host(**{name: new}), previous=host(**{name: old}))
    (refusal,) = checked.refusals
    assert refusal.rule == "changed_frequency"
    assert f"{name}: {old or 'missing'} -> {new}" in refusal.sentence


def test_what_else_changed_is_no_reason_to_refuse():
    assert judge_host(host(), previous=host(host__boot_id="b0", cpu__online="0-7")).findings == ()


def test_without_a_run_before_nothing_has_changed():
    (unjudged,) = judge_host(host(cpu__freq__governor="performance: 0-3")).unjudged
    assert (unjudged.rule, unjudged.reason) == ("changed_frequency", "this host was not measured before")


def test_counters_go_on_from_the_last_run_of_the_same_boot():
    old = host(load__cpu_ticks="cpu 0 0 0 50000 0 0 0 50000", cpu__throttle="core_throttle_count=9: 0-3")
    new = host(load__cpu_ticks="cpu 0 0 0 60000 0 0 0 50000", cpu__throttle="core_throttle_count=9: 0-3")
    assert judge_host(new, previous=old).findings == ()
    assert set(severities(judge_host(new))) == {"steal", "heat"}
    restarted = Fingerprint(tuple(f for f in old.facts if f.name != "host.boot_id"))
    assert set(severities(judge_host(new, previous=restarted))) == {"steal", "heat"}


def test_counters_that_went_backwards_count_from_boot():
    old = host(load__cpu_ticks="cpu 0 0 0 90000 0 0 0 9", cpu__throttle="core_throttle_count=9: 0-3")
    new = host(load__cpu_ticks="cpu 0 0 0 80000 0 0 0 8", cpu__throttle="core_throttle_count=2: 0-3")
    found = {finding.rule: finding.seen for finding in judge_host(new, previous=old).findings}
    assert found == {"heat": 2}


SOURCES = {
    "load": "load.average",
    "pressure_cpu": "load.pressure",
    "pressure_memory": "load.pressure",
    "pressure_io": "load.pressure",
    "steal": "load.cpu_ticks",
    "swap": "memory.swaps",
    "heat": "cpu.throttle",
    "governor": "cpu.freq.governor",
    "frequency_cap": "cpu.freq.max",
    "neighbours": "load.neighbours",
}


@pytest.mark.parametrize("rule", SOURCES)
def test_a_fact_that_is_missing_is_not_judged(rule):
    checked = judge_host(host(**{SOURCES[rule]: None}), previous=host(**{SOURCES[rule]: None}))
    assert checked.findings == ()
    reasons = {item.rule: item.reason for item in checked.unjudged}
    assert reasons[rule] == f"{SOURCES[rule]} is missing"


@pytest.mark.parametrize("rule", ["load", "pressure_cpu", "pressure_memory", "pressure_io", "steal", "heat"])
@pytest.mark.parametrize(
    "text", ["", "x", "cpu: some avg10=x y", "cpu a b", "-1 -2", "nan 1 2", "core_=x: 0"]
)
def test_a_fact_that_makes_no_sense_is_not_judged(rule, text):
    checked = judge_host(host(**{SOURCES[rule]: text}))
    assert checked.findings == ()
    reasons = {item.rule: item.reason for item in checked.unjudged}
    assert reasons[rule].startswith(f"{SOURCES[rule]} has")


@pytest.mark.parametrize(
    ("rule", "text"), [("swap", f"{SWAPS}\n/dev/vda2 partition 999 much -2"), ("neighbours", "qemu: some")]
)
def test_a_list_that_makes_no_sense_is_not_judged(rule, text):
    checked = judge_host(host(**{SOURCES[rule]: text}))
    assert checked.findings == ()
    assert rule in {item.rule for item in checked.unjudged}


def test_no_facts_at_all():
    checked = judge_host(Fingerprint(()))
    assert checked.findings == ()
    assert {item.rule for item in checked.unjudged} == {rule.name for rule in PREFLIGHT.rules}


@pytest.mark.parametrize("text", ["", "x", None])
def test_load_is_not_judged_without_the_number_of_cpus(text):
    reasons = {item.rule: item.reason for item in judge_host(host(cpu__online=text)).unjudged}
    assert "cpu.online" in reasons["load"]


@pytest.mark.parametrize(
    ("case", "warned", "unjudged"),
    [
        (
            "host-with-docker",
            {"load", "pressure_cpu"},
            {"governor", "frequency_cap", "heat", "changed_frequency"},
        ),
        ("virtual-machine", None, {"governor", "frequency_cap", "heat", "changed_frequency"}),
    ],
)
def test_real_hosts_without_sensors_stay_usable(case, warned, unjudged):
    checked = judge_host(fingerprint_of(case))
    assert {item.rule for item in checked.unjudged} == unjudged
    if warned is not None:
        assert checked.refusals == ()
        assert warned <= set(severities(checked))


def test_the_documentation_has_every_rule():
    assert PREFLIGHT.markdown_table("warns", "refuses") in DOCS.read_text(encoding="utf-8"), (
        'put the output of PREFLIGHT.markdown_table("warns", "refuses") into docs/validity.md'
    )
