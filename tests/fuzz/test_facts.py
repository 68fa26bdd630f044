"""Any facts and counters of a host are read or refused; what is judged by them is finite and has a reason."""

from __future__ import annotations

import json
import math
import struct
import zlib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from perfctl import facts
from perfctl.environments import CATALOGUE
from perfctl.errors import OutputError
from perfctl.facts import host as host_facts
from perfctl.facts import inside, on_host, parsers
from perfctl.facts.reading import fingerprint, host_specs, inside_specs, request_of
from perfctl.facts.registry import type_of
from perfctl.model import Fact, FactState, Fingerprint, Host, Target
from perfctl.shell import Completed
from perfctl.suites import load_suite
from perfctl.validity.assessment import Assessment
from perfctl.validity.counters import CounterDelta, parse_counters
from perfctl.validity.invocation import MeasuredInvocation, ServerCounters, assess_invocation
from perfctl.validity.preflight import judge_host
from tests.captured_facts import HOSTS, PARSED, content_of, fingerprint_of, source_of
from tests.fuzz.inputs import bounded, given, inputs
from tests.fuzz.mutation import JSON, NUMBERS, TEXTS, mutated, mutated_json

DATA = Path(__file__).parents[1] / "data" / "facts"
REAL = [fingerprint_of(host) for host in HOSTS]
COUNTERS = [
    ((folder / "before").read_text(), (folder / "after").read_text())
    for folder in sorted(path.parent for path in DATA.glob("*/after"))
]
WORDS = st.sampled_from(
    [
        *(
            "0-3",
            "0-",
            "3-0",
            "²-3",
            "99999999999999999999",
            "9" * 5000,
            "eth0",
            "mtu=1500",
            "speed=10000",
            "DRIVER=igb",
        ),
        *(
            "lower=eth0",
            "lower=eth0,br0",
            "master=br0",
            "DEVTYPE=bridge",
            "/dev/sda1",
            "/",
            "/a\\040b",
            "\\777",
            "ext4",
        ),
        *(
            "rw",
            "tmpfs",
            "performance:",
            "some avg10=99.99",
            "cpu: some avg10=9.9 ",
            "cpu",
            "0.5",
            "=4K:",
            "index0=32K: ",
        ),
        *(
            "docker",
            "\n",
            "\n",
            "\u0661",
            "-1",
            "nan",
            "core_throttle_count=3: 0-7",
            "cpu 1 2 3 4 5 6 7 8",
            "x: 0-3",
        ),
    ]
)
FACT_TEXTS = st.lists(WORDS | st.text(max_size=5) | NUMBERS, max_size=12).map(" ".join)
FACTS = st.lists(
    st.builds(
        Fact,
        st.sampled_from([spec.name for spec in facts.REGISTRY]),
        st.sampled_from(list(FactState)),
        FACT_TEXTS,
        st.booleans(),
    ),
    max_size=12,
).map(lambda found: Fingerprint(tuple({fact.name: fact for fact in found}.values())))


def judge(found: Fingerprint, earlier: Fingerprint) -> None:
    """Judge a host by its facts, and read every single value that anything reads out of them."""
    result = judge_host(found, previous=earlier)
    for finding in result.findings:
        assert math.isfinite(finding.seen) and finding.seen >= 0 and finding.sentence
    assert all(item.reason for item in result.unjudged)
    assert all(str(change) for change in facts.diff(earlier, found, dynamic=True))
    numbers = [host_facts.online_cpus(found), host_facts.largest_cache_bytes(found)]
    host_facts.is_on_local_disk(found, "/a b/c")
    for link in ("eth0", "br0", "lo"):
        numbers += [host_facts.wire_speed_mbit_s(found, link), host_facts.mtu_bytes(found, link)]
        host_facts.is_bridge(found, link)
    assert all(number is None or 0 < number < 10**24 for number in numbers)
    host_facts.route_interface(found, "192.0.2.1")


@inputs("facts", 0.2)
@given(FACTS, FACTS)
def test_any_facts_are_judged(found: Fingerprint, earlier: Fingerprint) -> bool:
    judge(found, earlier)
    return True


# ---- answers ---------------------------------------------------------------------------------------------

ROWS = host_specs(["sh"], version_argvs=[["sh", "-V"]], peers=["127.0.0.1"])
INSIDE_ROWS = inside_specs(["sh"], version_argvs=[["sh", "-V"]])
ON_HOST, INSIDE = request_of(ROWS), request_of(INSIDE_ROWS)
FILES = {source_of(case)["path"]: content_of(case) for case in PARSED if "path" in source_of(case)}
OUTPUTS = {
    " ".join(source_of(case)["argv"]): content_of(case) for case in PARSED if "argv" in source_of(case)
}
KEYS = [command.key for command in ON_HOST.commands if command.always_runs]
INDEX = {
    "files": [[path, [[path, len(FILES[path]) if path in FILES else "ENOENT"]]] for path in ON_HOST.files],
    "there": ["/sys/fs/cgroup/cpu", "/sys/class/net/eth0/bridge"],
    "variables": {"LD_PRELOAD": "/x"},
    "programs": {"sh": ["/bin/sh", "0" * 64]},
    "outputs": [[key, 0, len(OUTPUTS.get(key, b"")), 0] for key in KEYS],
    "has_begun": True,
    "is_whole": True,
}
CONTENT = b"".join(
    [*(FILES[path] for path in ON_HOST.files if path in FILES), *(OUTPUTS.get(key, b"") for key in KEYS)]
)
MARK = "perfctl-0"


def _printed(out: bytes, err: bytes = b"") -> Completed:
    return Completed(("x",), 0, out, err)


@inputs("facts", 0.1)
@given(st.just(INDEX) | mutated_json(INDEX) | JSON, st.just(0) | st.integers(-9, 9))
def test_any_index_of_a_host_is_read_whole_or_refused(index: Any, shift: int) -> bool:
    text = json.dumps(index).encode()
    packed = zlib.compress(struct.pack(">I", max(0, len(text) + shift)) + text + CONTENT)
    try:
        raw = on_host.parse_answer(_printed(packed), ON_HOST)
    except OutputError as error:
        assert str(error) and len(str(error)) < 2_000
        return False
    found = fingerprint(ROWS, raw)
    assert [fact.name for fact in found.facts] == [spec.name for spec in ROWS]
    judge(found, REAL[0])
    return True


@inputs("facts", 0.03)
@given(st.binary(max_size=60) | st.binary(max_size=60).map(zlib.compress))
def test_any_bytes_of_a_host_are_refused(printed: bytes) -> bool:
    with pytest.raises(OutputError):
        on_host.parse_answer(_printed(printed, b"\xff why"), ON_HOST)
    return False


_LINES = [
    f"{path}:{line}"
    for path, content in FILES.items()
    if path in INSIDE.files
    for line in content.decode().split("\n")[:40]
]
INSIDE_KEYS = [one.key for command in INSIDE.commands for one in command.chain]
OUT = "".join(
    f"\n{MARK} {part}\n"
    for part in (
        *("program sh /bin/sh", "code 0", "variable LD_PRELOAD"),
        *(part for key in INSIDE_KEYS for part in (f"output {key}", "code 0")),
        "listed",
        "files\n" + "\n".join(_LINES),
        *("code 2", "end"),
    )
)
ERR = "".join(line + "\n" for line in OUT.split("\n") if line.startswith(MARK) or not line)


@inputs("facts", 0.17)
@given(mutated(OUT) | st.just(OUT), mutated(ERR) | st.just(ERR))
def test_any_answer_of_an_environment_is_read_whole_or_refused(out: str, err: str) -> bool:
    try:
        raw = inside.parse_answer(_printed(_encoded(out), _encoded(err)), INSIDE, MARK)
    except OutputError as error:
        assert str(error) and len(str(error)) < 2_000
        return False
    found = fingerprint(INSIDE_ROWS, raw)
    assert [fact.name for fact in found.facts] == [spec.name for spec in INSIDE_ROWS]
    judge(found, REAL[0])
    return True


CPUINFO = st.lists(
    st.builds(
        "{}{}{}".format,
        st.sampled_from(
            ["processor", "processor 0", "cpu number", "model", "machine", "flags", "", "cpu MHz", "x"]
        ),
        st.sampled_from([": ", "\t: ", ":", " "]),
        st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"), max_size=12)
        | st.sampled_from(["0", "17"]),
    ),
    max_size=20,
)
MOUNTS = st.lists(
    st.lists(
        st.sampled_from(["tmpfs", "/dev/sda1", "/", "/x\\040y", "overlay", "ext4", "rw,lowerdir=/a", "0"])
    ).map(" ".join),
    max_size=8,
)


@inputs("facts", 0.02)
@given(CPUINFO, MOUNTS)
def test_any_cpuinfo_and_mounts_are_read(cpuinfo: list[str], mounts: list[str]) -> bool:
    for keys in ("model|cpu MHz", "processor N", "machine"):
        text = parsers.CpuInfo(keys)(cpuinfo)
        assert text is None or len(text.split("\n")) <= len(cpuinfo)
    storage, others = parsers.mounts(mounts), parsers.other_mounts(mounts)
    assert len([*filter(None, storage.split("\n")), *filter(None, others.split("\n"))]) <= len(mounts)
    return True


@inputs("facts", 0.1)
@given(st.sampled_from([spec.name for spec in ROWS]), FACT_TEXTS | TEXTS)
def test_any_text_has_a_value_or_none(name: str, text: str) -> bool:
    value = type_of(name).read(text)
    assert value is None or isinstance(value, type_of(name).value_class)
    return value is not None


# ---- counters ----------------------------------------------------------------------------------------------


def check_delta(delta: CounterDelta) -> None:
    """Check that every difference is missing, or finite and not below 0."""
    for field in fields(delta):
        value = getattr(delta, field.name)
        if isinstance(value, int | float):
            assert math.isfinite(value) and value >= 0, field.name
    flows: list[Any] = [*delta.links.values(), *delta.disks.values()]
    assert all(getattr(flow, field.name) >= 0 for flow in flows for field in fields(flow))
    assert all(value >= 0 for value in delta.carrier_changes.values())


VIEWS = st.lists(
    st.builds("{} {} {}".format, st.sampled_from(["command", "environment", "x"]), NUMBERS, NUMBERS)
    | st.sampled_from(
        [
            "# own: of the environment, which is session 1",
            "==> after its end <==",
            "1\t-\tx\t1\tinf\tyes\tvhost-1\tx",
        ]
    )
    | TEXTS,
    max_size=5,
).map("\n".join)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@inputs("facts", 0.38)
@given(
    st.sampled_from(COUNTERS).flatmap(
        lambda pair: st.tuples(mutated(pair[0]) | st.just(pair[0]), mutated(pair[1]))
    ),
    FACTS,
    VIEWS,
    st.none() | st.integers(0, 2**63),
    st.sampled_from(["cpu", "net", "memory"]).flatmap(
        lambda name: st.sampled_from(load_suite(name).benchmarks)
    ),
    st.sampled_from(["native", "container", "vm"]),
)
def test_any_counters_are_judged(texts, found, view, ended_ns, benchmark, environment) -> bool:
    before, after = map(_encoded, texts)
    check_delta(parse_counters(before, after))
    completed = Completed(("x",), 0, b"", b"", 1, ended_ns, before, after, _encoded(view))
    target = Target("h1", "h2" if benchmark.scope == "pair" else None)
    hosts = (Host("h1", "192.0.2.1"), Host("h2", "192.0.2.2"))
    invocation = MeasuredInvocation(
        target,
        benchmark,
        CATALOGUE[environment],
        completed,
        hosts,
        {"h1": found},
        server=ServerCounters(before, after),
    )
    assessment = assess_invocation(invocation, ())
    for finding in assessment.validity.findings:
        assert math.isfinite(finding.seen) and finding.seen >= 0
    assert Assessment.from_json(assessment.to_json()) == assessment
    return True


@pytest.mark.parametrize("number", ["9" * 21, "9" * 400, "9" * 5000, "²", "١"])
def test_a_number_that_no_kernel_counts_to_is_missing(number: str) -> None:
    files = (
        f"==> /proc/stat <==\ncpu {' '.join([number] * 10)}\nctxt {number}\nbtime {number}\n"
        f"==> /proc/loadavg <==\n{number}.5 1 1 1/2 3\n==> clock <==\n{number}\n"
        f"==> kernel log <==\n6,1,{number},-;x\n{number},1,1,-;x\n"
    ).encode()
    with bounded():
        delta = parse_counters(files, files)
    check_delta(delta)
    assert (delta.cpu_ticks, delta.context_switches, delta.load_1m_after, delta.messages) == (
        None,
        None,
        None,
        (),
    )


@pytest.mark.parametrize("number", ["9" * 400, "9" * 5000, "²"])
def test_a_fact_with_such_a_number_is_not_judged(number: str) -> None:
    texts = {
        "cpu.online": f"0-{number}",
        "cpu.cache": f"index0={number}K: 0",
        "cpu.throttle": f"core_throttle_count={number}: 0-{number}",
        "cpu.freq.governor": f"powersave: 0-{number}",
        "load.average": f"{number}.0 1 1",
        "load.cpu_ticks": "cpu " + " ".join([number] * 8),
        "load.pressure": f"cpu: some avg10={number}.0 x",
        "load.neighbours": f"docker: {number}",
        "memory.swaps": f"Filename Type Size Used Priority\n/x partition 1 {number} -2",
        "net.links": f"eth0 mtu={number} speed={number} DRIVER=igb",
    }
    found = Fingerprint(tuple(Fact(name, FactState.PRESENT, text) for name, text in texts.items()))
    with bounded():
        judge(found, found)
    assert host_facts.online_cpus(found) is None and host_facts.mtu_bytes(found, "eth0") is None


@pytest.mark.parametrize("seconds", ["inf", "nan", "1e400"])
def test_a_time_that_is_not_finite_is_missing(seconds: str) -> None:
    (_, _, benchmark, *_) = (*load_suite("cpu").benchmarks[:1] * 3,)
    view = f"environment {seconds} {seconds}\ncommand {seconds} 1\n".encode()
    completed = Completed(("x",), 0, b"", b"", 1, 2, b"", b"", view)
    invocation = MeasuredInvocation(Target("h1"), benchmark, CATALOGUE["container"], completed, (), {})
    assert assess_invocation(invocation, ()).context.own_cpu_us is None
