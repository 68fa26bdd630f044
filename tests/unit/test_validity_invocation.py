"""What a run puts together for the rules of validity and preflight, from made-up counters and facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from perfctl.errors import Refused
from perfctl.execute.preflight import notes, refuse
from perfctl.model import (
    Benchmark,
    Environment,
    Fact,
    FactState,
    Fingerprint,
    Host,
    Parameter,
    Sample,
    Target,
)
from perfctl.shell import Completed
from perfctl.validity import counter_files
from perfctl.validity.assessment import Assessment
from perfctl.validity.context import Expected, JudgementContext, RateClaim
from perfctl.validity.counters import parse_counters
from perfctl.validity.invocation import (
    MeasuredInvocation,
    ServerCounters,
    assess_invocation,
    expect,
    judgement_context,
    median_values,
    own_cpu_us,
)
from perfctl.validity.preflight import Preflight, judge_host
from perfctl.validity.rules import InvocationVerdict
from perfctl.validity.thresholds import PREFLIGHT, VALIDITY, RuleSet
from perfctl.workloads import WORKLOADS, Load, resolve_parameters

HOSTS = (Host("h1", "192.0.2.1", test_address="198.51.100.1"), Host("h2", "192.0.2.2"))
CPU = Benchmark("cpu", "sysbench", {"test": "cpu", "threads": 2}, expected_s=10)
STREAM = Benchmark("stream", "netperf", {"test": "TCP_STREAM"}, expected_s=10, scope="pair")
MAERTS = Benchmark("maerts", "netperf", {"test": "TCP_MAERTS"}, expected_s=10, scope="pair")
RR = Benchmark("rr", "netperf", {"test": "TCP_RR"}, expected_s=10, scope="pair")
NATIVE = Environment("native", "native")
LIMITED = Environment("native-1cpu", "native", cpu_quota=1.0)
CONTAINER = Environment("container", "container", engine="docker", network="bridge")
GUEST = Environment("vm", "vm")
IN_GUEST = Environment("container-in-vm", "container", engine="docker", within=GUEST)

LINKS = (
    "eth1 mtu=1500 speed=1000 DRIVER=igb\n"
    "br0 mtu=1500 DEVTYPE=bridge\n"
    "eth2 mtu=1500 speed=10000 master=br0 DRIVER=ixgbe"
)


def facts(route: str = "", *, links: str = LINKS, address: str = "192.0.2.2", **more: str) -> Fingerprint:
    rows = {"cpu.online": "0-3", "net.links": links, f"net.route.{address}": route} | more
    return Fingerprint(tuple(Fact(name, FactState.PRESENT, value) for name, value in rows.items()))


def counters(busy_ticks: int, own_us: int | None = None, *, sent_bytes: int = 0) -> bytes:
    """Counters of a host with four CPUs of which `busy_ticks` of 4,000 were used."""
    total = 4000 if busy_ticks else 0
    ticks = f"cpu {busy_ticks} 0 0 {total - busy_ticks} 0 0 0 0 0 0"
    text = "\n".join(["==> /proc/stat <==", ticks, *(f"cpu{n} 0" for n in range(4))])
    if own_us is not None:
        text += f"\n==> /sys/fs/cgroup/system.slice/perfctl-r.service/cpu.stat <==\nusage_usec {own_us}"
    text += f"\n==> /proc/net/dev <==\neth1: 0 0 0 0 0 0 0 0 {sent_bytes} 10 0 0 0 0 0 0\n"
    return text.encode()


def completed(
    busy_ticks: int = 2100, own_us: int | None = 20_000_000, *, view: str = "", sent_bytes: int = 0
) -> Completed:
    return Completed(
        ("sysbench",),
        0,
        b"",
        b"",
        started_ns=0,
        ended_ns=10**10,
        counters_before=counters(0, None if own_us is None else 0),
        counters_after=counters(busy_ticks, own_us, sent_bytes=sent_bytes),
        host_view=view.encode(),
    )


def invocation(
    benchmark: Benchmark = CPU, environment: Environment = NATIVE, **facts_of: Fingerprint
) -> MeasuredInvocation:
    target = Target("h1", "h2" if benchmark.scope == "pair" else None)
    return MeasuredInvocation(target, benchmark, environment, completed(), HOSTS, facts_of)


def judge(
    measured: MeasuredInvocation,
    done: Completed,
    samples: Sequence[Sample] = (),
    rules: RuleSet = VALIDITY,
) -> Assessment:
    return assess_invocation(replace(measured, completed=done), samples, rules)


def context_of(measured: MeasuredInvocation) -> JudgementContext:
    done = measured.completed
    return judgement_context(measured, parse_counters(done.counters_before, done.counters_after))


def view(what: str, command: str = "0.10\t0.20", environment: str = "", vhost: str = "") -> str:
    lines = [
        "# Who used processor time on this host while the command ran (10.000 s), since just before it.",
        f"# own: of the environment, which is {what}",
        "==> half way, after 5.000 s <==",
        "pid\ttid\tcpu\tuser_s\tsystem_s\town\tname\tgroup",
        "7\t-\t0\t0.00\t3.00\tyes\tvhost-6\t-",
        "==> after its end <==",
        "pid\ttid\tcpu\tuser_s\tsystem_s\town\tname\tgroup",
        "6\t-\t0\t17.00\t1.00\tyes\tqemu-system-x86\t/machine.slice",
        "6\t8\t0\t17.00\t1.00\tyes\tCPU 0/KVM\t/machine.slice",
        *([f"7\t-\t0\t{vhost}\tyes\tvhost-6\t-"] if vhost else []),
        "9\t-\t1\t4.00\t4.00\tno\tvhost-5\t-",
        "==> in all <==",
        "of\tuser_s\tsystem_s",
        f"command\t{command}",
        *([f"environment\t{environment}"] if environment else []),
    ]
    return "\n".join([*lines, ""])


def test_the_benchmarks_own_threads_are_no_disturbance() -> None:
    assert judge(invocation(h1=facts()), completed()).validity.findings == ()
    (finding,) = judge(invocation(h1=facts()), completed(own_us=16_000_000)).validity.findings
    assert (finding.rule, round(finding.seen, 1)) == ("others_cpu", 12.5)


@pytest.mark.parametrize(
    ("done", "own_us"),
    [
        (completed(), None),
        (completed(view=view("session 12", environment="19.00\t1.00")), None),
        (completed(own_us=None, view=view("session 12", "19.00\t1.00", "19.00\t1.00")), 20_000_000),
        (completed(own_us=300_000, view=view("cgroup:abc", environment="18.00\t2.00")), 20_300_000),
        (completed(own_us=None, view=view("cgroup:abc", environment="18.00\t2.00")), 20_000_000),
        (completed(own_us=300_000, view=view("cgroup:abc")), None),
        (
            completed(own_us=0, view=view("pidfile:/run/x", environment="17.00\t1.00", vhost="0.00\t3.00")),
            21_000_000,
        ),
        (completed(view="# cut short"), None),
    ],
)
def test_own_time_is_that_of_the_environment_and_of_what_waits_for_it(
    done: Completed, own_us: int | None
) -> None:
    assert own_cpu_us(done.host_view, parse_counters(done.counters_before, done.counters_after)) == own_us


@pytest.mark.parametrize("environment", [CONTAINER, GUEST, LIMITED])
def test_without_the_hosts_view_others_are_not_judged_where_a_group_was_not_read(
    environment: Environment,
) -> None:
    unseen = judge(invocation(environment=environment, h1=facts()), completed(own_us=0))
    assert "others_cpu" in {item.rule for item in unseen.validity.unjudged}
    seen = completed(own_us=0, view=view("cgroup:abc", environment="10.00\t0.00"))
    found = judge(invocation(environment=environment, h1=facts()), seen).validity.findings
    assert [finding.rule for finding in found] == ["others_cpu"]


def test_what_an_environment_leads_to_expect() -> None:
    container = replace(CONTAINER, cpu_quota=1.5)
    nested = replace(CONTAINER, network="host", within=GUEST)
    load = Load(threads=2, uses=frozenset({"cpu"}))

    def expected(environment: Environment) -> Expected:
        return expect(environment, load, facts(), "eth1")

    assert expected(NATIVE) == Expected(4, 2, frozenset({"cpu"}), ("eth1",))
    inside = expected(container)
    assert (inside.shares_host_network, inside.has_cpu_quota, inside.is_own_cpu_read) == (False, True, False)
    assert not expected(LIMITED).is_own_cpu_read
    assert expected(GUEST).parallelism is None
    sandboxed = expected(replace(CONTAINER, runtime="runsc", network="host"))
    assert (sandboxed.parallelism, sandboxed.shares_host_network) == (None, False)
    assert not expected(nested).shares_host_network
    assert expected(replace(container, network="host")).shares_host_network


def test_a_host_whose_facts_are_missing_is_judged_by_what_there_is() -> None:
    validity = judge(invocation(), completed(own_us=16_000_000)).validity
    assert validity.verdict is InvocationVerdict.FLAGGED
    assert judge(invocation(STREAM), completed()).context.expected.interfaces == ()


def test_other_cpus_than_the_facts_say_make_it_invalid() -> None:
    validity = judge(invocation(h1=facts(**{"cpu.online": "0-7"})), completed()).validity
    assert validity.verdict is InvocationVerdict.INVALID
    assert (
        judge(invocation(h1=facts(**{"cpu.online": "0-7"})), completed())
        .summary()
        .startswith("invalid: 4 CPUs were online")
    )


def test_limits_decide_and_worst_comes_first_in_few_words() -> None:
    strict = VALIDITY.changed("others_cpu", mild=0, severe=10)
    judged = judge(invocation(h1=facts(**{"cpu.online": "0-7"})), completed(own_us=16_000_000), (), strict)
    assert judged.validity.verdict is InvocationVerdict.INVALID
    assert judged.summary() == ("invalid: other tasks of the host used 12.5 % of all CPU time (and 1 more)")
    assert judge(invocation(h1=facts()), completed()).summary() == ""


def test_a_value_is_the_median_without_warm_up() -> None:
    samples = [Sample("t", value, "s", index, index < 1) for index, value in enumerate((9.0, 1.0, 3.0, 2.0))]
    assert median_values([*samples, Sample("w", 5.0, "s", 0, True)]) == {"t": (2.0, "s")}


# ---- what crosses the network ---------------------------------------------------------------------------

THERE = facts("dev eth2", address="198.51.100.1")


@pytest.mark.parametrize(
    ("benchmark", "environment", "route", "interface", "counted", "direction", "mbit_s"),
    [
        (STREAM, NATIVE, "dev eth1 src 198.51.100.1", "eth1", "eth1", "sent", 1000),
        (MAERTS, NATIVE, "dev eth1", "eth1", "eth1", "received", 1000),
        (STREAM, NATIVE, "dev br0", "br0", "br0", "sent", 10000),
        (STREAM, CONTAINER, "dev eth1", "eth1", "eth1", "sent", 1000),
        (STREAM, CONTAINER, "dev br0", "br0", None, "sent", 10000),
        (STREAM, GUEST, "dev br0", "br0", None, "sent", 10000),
        (STREAM, replace(CONTAINER, network="host"), "dev br0", "br0", "br0", "sent", 10000),
    ],
)
def test_a_rate_is_held_against_the_wire_and_against_who_counted_it(
    benchmark: Benchmark,
    environment: Environment,
    route: str,
    interface: str,
    counted: str | None,
    direction: str,
    mbit_s: int,
) -> None:
    case = context_of(invocation(benchmark, environment, h1=facts(route), h2=THERE))
    assert case.expected.interfaces == (interface,)
    (claim,) = case.claims
    assert (claim.device, claim.direction, claim.rate) == (counted, direction, "throughput")
    assert claim.bound is not None
    assert claim.bound.value == pytest.approx(mbit_s * 1480 / 1538)


def test_the_slower_end_of_the_path_bounds_it() -> None:
    slow = facts("dev eth1", address="198.51.100.1", links="eth1 mtu=1500 speed=100 DRIVER=igb")
    (claim,) = context_of(invocation(STREAM, h1=facts("dev eth1"), h2=slow)).claims
    assert claim.bound is not None and claim.bound.value == pytest.approx(100 * 1480 / 1538)


def test_requests_claim_no_bytes_and_an_unknown_route_bounds_nothing() -> None:
    assert context_of(invocation(RR, h1=facts("dev eth1"), h2=THERE)).claims == ()
    assert context_of(invocation(STREAM, h1=facts("unreachable"), h2=THERE)).claims == ()
    made_up = facts("dev eth1", links="eth1 mtu=1500 speed=10000")
    (claim,) = context_of(invocation(STREAM, h1=made_up)).claims
    assert claim == RateClaim("throughput", "elapsed_time", "sent", "eth1", None)


def test_more_than_was_counted_is_likely_an_artefact() -> None:
    samples = [Sample("throughput", 900.0, "Mbit/s"), Sample("elapsed_time", 10.0, "s")]
    here = invocation(STREAM, h1=facts("dev eth1"), h2=THERE)
    honest = judge(here, completed(own_us=21_000_000, sent_bytes=1_150_000_000), samples)
    assert honest.validity.findings == ()
    lie = judge(here, completed(own_us=21_000_000, sent_bytes=1_000_000_000), samples)
    assert lie.validity.verdict is InvocationVerdict.FLAGGED
    (finding,) = lie.validity.findings
    assert (finding.rule, finding.metric) == ("device_bytes", "throughput")
    assert lie.summary().startswith("flagged: 1,125,000,000 bytes is more than what eth1 counted as sent")


# ---- the server's host ----------------------------------------------------------------------------------


def at_server(
    *, steal: int = 0, busy: int = 400, cpus: int = 4, drops: int = 0, after: bool = True
) -> ServerCounters:
    """What was read there: of 4,000 ticks so many stolen, so many used; of 10,000 packets so many lost."""

    def text(steal: int, busy: int, packets: int, drops: int) -> bytes:
        idle = 4000 - busy - steal if packets else 0
        lines = ["==> /proc/stat <==", f"cpu {busy} 0 0 {idle} 0 0 0 {steal} 0 0"]
        lines += [f"cpu{n} 0" for n in range(cpus)]
        lines += ["==> /proc/net/dev <==", f"eth2: 0 {packets} 0 {drops} 0 0 0 0 0 {packets} 0 0 0 0 0 0", ""]
        return "\n".join(lines).encode()

    return ServerCounters(text(0, 0, 0, 0), text(steal, busy, 5000, drops) if after else b"")


def judged_at(
    watch: ServerCounters | None, environment: Environment = NATIVE, **known: Fingerprint
) -> Assessment:
    known = known or {"h1": facts("dev eth1"), "h2": THERE}
    done = completed(own_us=21_000_000, sent_bytes=1)
    return judge(replace(invocation(RR, environment, **known), server=watch), done)


def test_a_quiet_server_leaves_the_verdict_as_it_is() -> None:
    judged = judged_at(at_server())
    assert judged.validity.verdict is InvocationVerdict.VALID and judged.validity.findings == ()
    assert judged.context.server is not None
    assert (judged.context.server.host, judged.context.server.expected.interfaces) == ("h2", ("eth2",))


@pytest.mark.parametrize(
    ("watch", "verdict", "sentences"),
    [
        (
            at_server(steal=80),
            InvocationVerdict.FLAGGED,
            ["at h2: the hypervisor gave 2 % of all CPU time to others"],
        ),
        (
            at_server(steal=800),
            InvocationVerdict.INVALID,
            ["at h2: the hypervisor gave 20 % of all CPU time to others"],
        ),
        (
            at_server(drops=10),
            InvocationVerdict.FLAGGED,
            ["at h2: eth2 lost 0.1 % of packets (10 of 10,000)"],
        ),
        (
            at_server(cpus=3),
            InvocationVerdict.INVALID,
            ["at h2: 3 CPUs were online before and 3 after; 4 were expected"],
        ),
        # One CPU of four is the server's own; what goes beyond is others' for sure.
        (at_server(busy=1000), InvocationVerdict.VALID, []),
        (
            at_server(busy=1500),
            InvocationVerdict.FLAGGED,
            ["at h2: other tasks of the host used at least 12.5 % of all CPU time (5 s of CPU time)"],
        ),
    ],
)
def test_what_went_on_at_the_server_counts_and_names_it(
    watch: ServerCounters, verdict: InvocationVerdict, sentences: list[str]
) -> None:
    judged = judged_at(watch)
    assert judged.validity.verdict is verdict
    assert [item.sentence for item in judged.validity.findings] == sentences
    again = Assessment.from_json(judged.to_json())
    assert again == judged


def test_each_reading_of_the_counters_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    parse_files = counter_files.parse_files

    def noted(captured: bytes) -> counter_files.CapturedFiles:
        parsed.append(captured)
        return parse_files(captured)

    monkeypatch.setattr(counter_files, "parse_files", noted)
    judged_at(at_server(steal=20))
    # Before and after, at the client's host and at the server's.
    assert len(parsed) == 4


@pytest.mark.parametrize(
    ("watch", "reason"),
    [
        (None, "at h2: no counters were read there"),
        (at_server(after=False), "at h2: its counters were not read"),
        (
            ServerCounters(problem="the other end is gone"),
            "at h2: the other end is gone",
        ),
    ],
)
def test_a_server_that_was_not_read_is_not_judged_and_says_why(
    watch: ServerCounters | None, reason: str
) -> None:
    judged = judged_at(watch)
    assert judged.validity.verdict is InvocationVerdict.VALID and judged.validity.findings == ()
    assert [item.reason for item in judged.validity.unjudged if item.rule == "server"] == [reason]


def test_a_server_of_which_no_facts_were_read_is_judged_by_what_there_is() -> None:
    judged = judged_at(at_server(steal=80), h1=facts("dev eth1"))
    assert [item.rule for item in judged.validity.findings] == ["steal"]
    reasons = {item.reason for item in judged.validity.unjudged}
    assert "at h2: which interface the traffic takes is not known" in reasons


def test_the_servers_environment_decides_what_is_expected_there() -> None:
    to_guest = Environment("native-to-vm", "native", server=replace(GUEST, cpu_quota=1.0))
    case = context_of(invocation(RR, to_guest, h1=facts("dev eth1"), h2=THERE))
    assert case.server is not None
    assert (case.server.expected.parallelism, case.server.expected.has_cpu_quota) == (None, True)
    assert context_of(invocation(CPU, h1=facts())).server is None


# ---- what goes to disks -----------------------------------------------------------------------------------


def fileio(mode: str = "rndrw", flags: str = "direct", **parameters: Parameter) -> Benchmark:
    given = {"test": "fileio", "file_test_mode": mode, "file_extra_flags": flags, **parameters}
    return Benchmark("io", "sysbench", resolve_parameters(WORKLOADS["sysbench"], given), expected_s=10)


OTHERS = {"storage.other_mounts": "devtmpfs /dev\nfuse.sshfs /mnt/far"}
LOCAL = facts(**{"storage.mounts": "/dev/sda1 / ext4 rw"}, **OTHERS)


def stored(other: str, daemon: str | None = None, dropins: str | None = None) -> Fingerprint:
    """A host with one disk, another file system, and a docker that was told this."""
    told = {"engine.daemon_json": daemon, "engine.dropins": dropins}
    mounts = {"storage.mounts": "/dev/sda1 / ext4 rw", "storage.other_mounts": other}
    return facts(**mounts, **{name: text for name, text in told.items() if text is not None})


FAR = facts(**{"storage.mounts": "/dev/sda1 / ext4 rw\nserver:/x /var/tmp nfs4 rw"}, **OTHERS)


@pytest.mark.parametrize(
    ("benchmark", "environment", "here", "directions"),
    [
        (fileio(), NATIVE, LOCAL, ["read", "written"]),
        (fileio("rndrd"), NATIVE, LOCAL, ["read"]),
        (fileio("seqwr"), NATIVE, LOCAL, ["written"]),
        (fileio("seqwr"), CONTAINER, LOCAL, ["written"]),
        (fileio("seqwr"), GUEST, LOCAL, ["written"]),
        (fileio("seqwr"), CONTAINER, facts(), []),
        (fileio("seqwr"), GUEST, facts(), []),
        (fileio("seqwr"), CONTAINER, stored("tmpfs /var/lib/docker"), []),
        (fileio("seqwr"), CONTAINER, stored("overlay /var/lib/docker"), []),
        (fileio("seqwr"), CONTAINER, stored("fuse.x /var/lib"), []),
        (fileio("seqwr"), CONTAINER, stored("tmpfs /var/lib/containerd"), []),
        (fileio("seqwr"), CONTAINER, stored("tmpfs /var/lib/perfctl"), ["written"]),
        (fileio("seqwr"), GUEST, stored("tmpfs /var/lib/docker"), ["written"]),
        (fileio("seqwr"), GUEST, stored("tmpfs /var/lib/perfctl/vm"), []),
        (fileio("seqwr"), IN_GUEST, stored("tmpfs /var/lib/docker"), ["written"]),
        (fileio("seqwr"), IN_GUEST, stored("tmpfs /var/lib/perfctl"), []),
        (fileio("seqwr"), CONTAINER, stored("tmpfs /fast", daemon='{"data-root": "/fast/docker"}'), []),
        (
            fileio("seqwr"),
            CONTAINER,
            stored("tmpfs /var/lib/docker", daemon='{"data-root": "/srv"}'),
            ["written"],
        ),
        (fileio("seqwr"), CONTAINER, stored("tmpfs /tmp", daemon='{"mtu": 9000}'), ["written"]),
        (fileio("seqwr"), CONTAINER, stored("tmpfs /tmp", daemon="{no json"), []),
        (fileio("seqwr"), CONTAINER, stored("tmpfs /tmp", dropins="ExecStart=dockerd --data-root /x"), []),
        (fileio(), NATIVE, FAR, []),
        (fileio(directory="/srv"), NATIVE, FAR, ["read", "written"]),
        (fileio(directory="/mnt/far/x"), NATIVE, LOCAL, []),
        (fileio(directory="/dev/shm"), NATIVE, LOCAL, []),
        (fileio(directory="/dev/shm"), CONTAINER, LOCAL, []),
        (fileio(directory="/run/x"), GUEST, LOCAL, []),
        (fileio(directory="/running"), GUEST, LOCAL, ["read", "written"]),
        (fileio(), NATIVE, facts(), []),
        (fileio(), CONTAINER, None, []),
        (fileio(flags=""), NATIVE, LOCAL, []),
        (fileio(flags="sync"), NATIVE, LOCAL, []),
        (fileio(file_io_mode="mmap"), NATIVE, LOCAL, []),
        (CPU, NATIVE, LOCAL, []),
    ],
)
def test_direct_io_is_held_against_the_disks(
    benchmark: Benchmark, environment: Environment, here: Fingerprint | None, directions: list[str]
) -> None:
    known = {} if here is None else {"h1": here}
    claims = context_of(invocation(benchmark, environment, **known)).claims
    assert [claim.direction for claim in claims] == directions
    assert {(claim.device, claim.bound) for claim in claims} <= {("the disks", None)}


def test_more_than_the_disks_counted_is_likely_an_artefact() -> None:
    disk = "==> /proc/diskstats <==\n 254 0 vda 1 0 {} 0 1 0 0 0 0 0 0\n"
    done = completed(own_us=21_000_000)
    before = done.counters_before + disk.format(0).encode()
    after = done.counters_after + disk.format(2 * 1024 * 1000).encode()
    done = replace(done, counters_before=before, counters_after=after)
    for rate, rules in ((99.0, []), (102.0, ["device_bytes"])):
        samples = [Sample("read_bandwidth", rate, "MiB/s"), Sample("total_time", 10.0, "s")]
        judged = judge(invocation(fileio("rndrd"), GUEST, h1=LOCAL), done, samples)
        assert [item.rule for item in judged.validity.findings] == rules
    assert "what the disks counted as read" in judged.validity.findings[0].sentence


# ---- preflight ------------------------------------------------------------------------------------------


def host(load: str, pressure: str, virtualization: str = "kvm") -> Preflight:
    return judge_host(
        facts(
            **{
                "load.average": f"{load} 1.00 1.00 1/100 4",
                "load.pressure": f"cpu: some avg10={pressure} avg60=0.00 avg300=0.00 total=1",
                "vm.virtualization": virtualization,
            }
        ),
        rules=PREFLIGHT,
    )


def test_a_fit_host_is_passed_in_silence() -> None:
    judged = {"h1": host("0.10", "0.00")}
    assert list(notes(judged, force=False)) == []
    refuse(judged, "run-1")


def test_what_only_widens_intervals_is_said_in_one_note_for_each_host() -> None:
    judged = {"h1": host("1.60", "6.00"), "h2": host("0.00", "0.00")}
    (note,) = notes(judged, force=False)
    assert (note.level, note.where) == ("warning", "h1")
    assert "0.4 runnable tasks per CPU" in note.text and "6 % of the last 10 s" in note.text
    refuse(judged, "run-1")


def test_a_busy_host_is_refused_by_name_with_what_was_seen_and_what_helps() -> None:
    judged = {"h1": host("8.00", "60.00"), "h2": host("1.00", "0.00")}
    with pytest.raises(Refused) as refused:
        refuse(judged, "perfctl resume run-1")
    assert refused.value.exit_code == 7
    for words in ("h1: ", "2 runnable tasks per CPU", "60 % of the last 10 s"):
        assert words in refused.value.message
    assert "h2" not in refused.value.message
    hint = refused.value.hint or ""
    assert hint.count("--force") == 1 and "wait; then: perfctl resume run-1" in hint
    assert [note.where for note in notes(judged, force=False)] == ["h2"]


def test_force_says_what_it_overrules() -> None:
    judged = {"h1": host("8.00", "60.00")}
    (note,) = notes(judged, force=True)
    assert note.text.count("measured because of --force") == 2


def test_a_host_that_is_a_container_is_never_refused_for_the_machines_load() -> None:
    judged = {"h1": host("80.00", "99.00", "docker")}
    refuse(judged, "run-1")
    (note,) = notes(judged, force=False)
    assert "of the whole machine" in note.text
