"""The label of an environment against what the kernel said of the command that was measured in it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perfctl.environments import environment, label
from perfctl.environments.catalogue import CATALOGUE
from perfctl.execute.invocation import InvocationOutcome, read_outcome, with_true_label
from perfctl.model import TASK, Benchmark, Environment, Fact, FactState, Fingerprint, Reason, Sample, Status
from perfctl.shell import Completed
from perfctl.workloads import resolve_parameters, workload

# As a stock container of Docker 20.10 had it on a host with all capabilities but SYS_RESOURCE.
STOCK = (
    b"Name:\tperfctl-launch;CapPrm:\t00000000a80425fb;CapEff:\t00000000a80425fb;NoNewPrivs:\t0;Seccomp:\t2;"
    b"Seccomp_filters:\t1;Speculation_Store_Bypass:\tvulnerable;SpeculationIndirectBranch:\talways enabled;"
    b"Cpus_allowed_list:\t0-1;Mems_allowed_list:\t0;voluntary_ctxt_switches:\t1;label:"
)
DEFAULT = label.parse_task(STOCK)
HOST = {"Seccomp": "0", "Seccomp_filters": "0", "CapEff": "000001fffeffffff", "NoNewPrivs": "0"}
OPEN = {**DEFAULT, "Seccomp": "0", "Seccomp_filters": "0"}
ALL = {**OPEN, "CapEff": "000001fffeffffff"}


def container(**changes: object) -> Environment:
    return replace(environment("container"), name="mine", **changes)  # type: ignore[arg-type]


def test_what_is_kept_of_a_task() -> None:
    assert DEFAULT == {
        **{"CapEff": "00000000a80425fb", "NoNewPrivs": "0", "Seccomp": "2", "Seccomp_filters": "1"},
        **{"Speculation_Store_Bypass": "vulnerable", "SpeculationIndirectBranch": "always enabled"},
        **{"Cpus_allowed_list": "0-1", "Mems_allowed_list": "0"},
    }
    labelled = label.parse_task(STOCK + b"docker-default (enforce);;")
    assert labelled["label"] == "docker-default (enforce)"
    assert label.task_text(labelled).endswith(b"\nlabel: docker-default (enforce)\n")
    assert label.parse_task(b"\xff;;:;Seccomp") == {}


@pytest.mark.parametrize(
    ("wanted", "task"),
    [
        (environment("native"), DEFAULT),
        (environment("vm"), DEFAULT),
        (environment("container"), DEFAULT),
        (environment("container"), OPEN),  # an engine without filters: stock is whatever the engine does
        (environment("container-unconfined"), OPEN),
        (environment("container-apparmor-unconfined"), DEFAULT),
        (environment("container-apparmor-unconfined"), {**DEFAULT, "label": "unconfined"}),
        (environment("container-no-new-privileges"), {**DEFAULT, "NoNewPrivs": "1"}),
        (environment("container-allcaps"), {**DEFAULT, "CapEff": "000001fffeffffff"}),
        (environment("container-privileged"), ALL),
        (container(cap_add=("SYS_NICE",)), {**DEFAULT, "CapEff": "00000000a88425fb"}),
        (container(cap_drop=("ALL",)), {**DEFAULT, "CapEff": "0000000000000000"}),
        (container(cap_drop=("ALL",), cap_add=("CAP_CHOWN",)), {**DEFAULT, "CapEff": "1"}),
        (container(cap_drop=("net_raw",)), {**DEFAULT, "CapEff": "00000000a80405fb"}),
        (container(seccomp_profile="{}"), DEFAULT),
        (container(cpuset_cpus="1,0"), DEFAULT),
        (container(security_opt=("apparmor=mine",)), {**DEFAULT, "label": "mine (enforce)"}),
        (container(runtime="runsc", privileged=True), DEFAULT),  # a kernel of its own
        (environment("container-unconfined"), {}),  # what was not read contradicts nothing
    ],
)  # fmt: skip
def test_a_label_that_is_true(wanted: Environment, task: label.Task) -> None:
    assert label.contradictions(wanted, task, HOST) == ()
    assert label.contradictions(wanted, task, {}) == ()


@pytest.mark.parametrize(
    ("wanted", "task", "claim", "was"),
    [
        (environment("container-unconfined"), DEFAULT, "seccomp=unconfined", "2, Seccomp_filters: 1"),
        (container(security_opt=("seccomp:unconfined",)), DEFAULT, "seccomp=unconfined", "Seccomp: 2"),
        (environment("container-privileged"), {**ALL, "Seccomp": "2"}, "no seccomp filter", "Seccomp: 2"),
        (environment("container-privileged"), OPEN, "all capabilities", "CapEff: 00000000a80425fb (without "),
        (environment("container-allcaps"), DEFAULT, "cap_add ALL", "SYS_ADMIN"),
        (container(seccomp_profile="{}"), OPEN, "a seccomp profile (sha256 44136fa355b3)", "Seccomp: 0"),
        (environment("container-no-new-privileges"), DEFAULT, "no-new-privileges", "NoNewPrivs: 0"),
        (container(security_opt=("no-new-privileges",)), DEFAULT, "no-new-privileges", "NoNewPrivs: 0"),
        (container(cap_add=("SYS_NICE",)), DEFAULT, "cap_add SYS_NICE", "CapEff: 00000000a80425fb"),
        (container(cap_drop=("NET_RAW",)), DEFAULT, "cap_drop NET_RAW", "CapEff"),
        (container(cap_drop=("ALL",), cap_add=("CHOWN",)), DEFAULT, "cap_drop DAC_OVERRIDE,", "CapEff"),
        (container(cpuset_cpus="1"), DEFAULT, "cpuset_cpus 1", "Cpus_allowed_list: 0-1"),
        (environment("container-apparmor-unconfined"), {**OPEN, "label": "docker-default (enforce)"},
         "apparmor=unconfined", "'docker-default (enforce)'"),
        (container(security_opt=("apparmor=mine",)), DEFAULT, "apparmor=mine", "no label"),
    ],
)  # fmt: skip
def test_a_label_that_is_not(wanted: Environment, task: label.Task, claim: str, was: str) -> None:
    (found,) = label.contradictions(wanted, task, HOST)
    says, _, ran = found.partition(", and the command ran with ")
    assert claim in says
    assert was in ran


def test_a_filter_of_the_host_is_no_containers() -> None:
    host = {"Seccomp": "2", "Seccomp_filters": "1"}
    wanted = environment("container-unconfined")
    assert label.contradictions(wanted, DEFAULT, host) == ()
    assert label.contradictions(wanted, {**DEFAULT, "Seccomp_filters": "2"}, host) != ()
    # Kernels before 5.9 do not count them: nothing is known.
    old = {"Seccomp": "2"}
    assert label.contradictions(wanted, old, old) == ()


def test_the_hosts_task_is_in_its_facts() -> None:
    facts = Fingerprint((
        Fact("task.seccomp", FactState.PRESENT, "0", True),
        Fact("task.cap_eff", FactState.DENIED, "", True),
    ))  # fmt: skip
    assert label.task_of_facts(facts) == {"Seccomp": "0"}
    assert label.task_of_facts(None) == {}


def test_only_limits_of_containers_are_read_after_a_command() -> None:
    limited = container(memory_mib=64)
    assert label.limits_argv(limited) and not label.limits_argv(environment("container"))
    assert not label.limits_argv(replace(environment("native"), memory_mib=64))
    assert "64 MiB is not in force" in label.lost_limit(limited, "memory=max\nswap=capped\n")
    assert not label.lost_limit(limited, "memory=67108864\nswap=capped\n")


def test_without_apparmor_unconfined_is_the_stock_container() -> None:
    wanted = environment("container-apparmor-unconfined")
    assert label.remark(wanted, '["name=seccomp,profile=default"]').startswith("no AppArmor on this host")
    assert not label.remark(wanted, '["name=apparmor", "name=seccomp,profile=default"]')
    assert not label.remark(wanted, "")
    assert not label.remark(environment("container"), '["name=seccomp,profile=default"]')


@pytest.mark.parametrize("name", CATALOGUE)
def test_containers_that_are_not_stock_have_claims(name: str) -> None:
    changed = ("unconfined", "allcaps", "privileged", "privileges")
    assert label.has_claims(environment(name)) is any(word in name for word in changed)


# ---- what becomes of an invocation -----------------------------------------------------------------------


def outcome(task: bytes, status: Status = Status.OK) -> InvocationOutcome:
    completed = Completed(("x",), 0, b"1", b"", task=task)
    reason = None if status is Status.OK else Reason.EXIT_NONZERO
    return InvocationOutcome(status, reason, completed=completed, samples=(Sample("elapsed", 1.0, "s"),))


def test_a_false_label_fails_the_invocation_and_keeps_what_was_read() -> None:
    found = with_true_label(outcome(STOCK), environment("container-unconfined"), HOST)
    assert (found.status, found.reason, found.samples) == (Status.FAILED, Reason.LABEL_MISMATCH, ())
    assert "seccomp=unconfined, and the command ran with Seccomp: 2" in found.detail
    assert b"Seccomp: 2\n" in found.artifacts[TASK]
    assert found.completed is not None and found.completed.stdout == b"1"


def test_a_true_label_changes_nothing_but_what_is_kept() -> None:
    plain = outcome(STOCK)
    found = with_true_label(plain, environment("container"), HOST)
    assert replace(found, artifacts={}) == plain
    assert set(found.artifacts) == {TASK}
    assert with_true_label(outcome(b""), environment("container"), HOST) == outcome(b"")


def test_a_limit_that_does_not_hold_is_a_false_label() -> None:
    found = with_true_label(
        outcome(STOCK), container(cpu_quota=1.0), HOST, lost_limit="the quota is not in force"
    )
    assert (found.reason, found.detail) == (
        Reason.LABEL_MISMATCH,
        "it is not what its name says: the quota is not in force",
    )


def test_what_failed_by_itself_keeps_its_reason() -> None:
    failed = outcome(STOCK, Status.FAILED)
    assert with_true_label(failed, environment("container-unconfined"), HOST).reason is Reason.EXIT_NONZERO


@pytest.mark.parametrize(("code", "is_filter"), [(159, True), (139, False), (1, False)])
def test_a_filter_that_kills_is_told_from_a_crash(code: int, is_filter: bool) -> None:
    tool = workload("sysbench")
    benchmark = Benchmark("b", tool.name, resolve_parameters(tool, {}), expected_s=1.0)
    found = read_outcome(tool, benchmark, Completed(("x",), code, b"", b"words"))
    assert found.reason is Reason.EXIT_NONZERO
    assert ("killed by SIGSYS" in found.detail) is is_filter
    assert f"exit code {code}: words" in found.detail
