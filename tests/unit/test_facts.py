"""Answers of hosts and environments, whole and damaged; values; what changed; and the documentation."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfctl.errors import OutputError
from perfctl.facts import REGISTRY, diff, inside, on_host, read_value, value_of, values
from perfctl.facts.raw import RawFacts, RawProgram
from perfctl.facts.reading import fingerprint as fingerprint_in
from perfctl.facts.reading import host_specs, inside_specs, request_of
from perfctl.facts.registry import markdown_table, type_of
from perfctl.facts.request import Command, Request
from perfctl.facts.values import Groups, Link, LoadAverage, NumberList
from perfctl.model import Fact, FactState, Fingerprint
from perfctl.shell import Completed
from tests.captured_facts import HOSTS, PARSED, expected_of, fingerprint_of, rows_of

DOCS = Path(__file__).parents[2] / "docs" / "facts.md"


def fingerprint(*rows: tuple[str, str | None]) -> Fingerprint:
    """Return a fingerprint of static rows; None stands for missing."""
    return Fingerprint(
        tuple(
            Fact(name, FactState.MISSING if text is None else FactState.PRESENT, text or "")
            for name, text in rows
        )
    )


def test_there_are_captured_hosts():
    assert len(HOSTS) >= 4


def test_what_a_stock_container_changes_is_seen():
    native, container = fingerprint_of("inside-native"), fingerprint_of("inside-stock-container")
    changed = {change.name for change in diff(native, container)}
    assert {"task.seccomp", "task.seccomp_filters", "task.cap_eff", "net.links"} <= changed
    assert not {"kernel.release", "tool.sysbench.sha256", "time.current_clocksource"} & changed


# --- a host's answer ----------------------------------------------------------------------------------------

INDEX: dict[str, Any] = {
    "files": [
        ["/proc/sys/kernel/osrelease", [["/proc/sys/kernel/osrelease", 4]]],
        ["/proc/cmdline", [["/proc/cmdline", "ENOENT"]]],
        ["/sys/fs/selinux/enforce", [["/sys/fs/selinux/enforce", "EACCES"]]],
    ],
    "there": ["/sys/fs/cgroup/cgroup.controllers"],
    "variables": {"LD_PRELOAD": "/x\udcff"},
    "programs": {"bench": ["/usr/bin/bench", "ab"], "absent": [None, None]},
    "outputs": [["df -P", 0, 5, 0], ["chronyc -c tracking", None, 0, 0], ["ethtool -k eth0", 0, 0, 0]],
    "has_begun": True,
    "is_whole": True,
}
CONTENTS = b"6.1\nsize\n"
ASKED = Request(
    files=("/proc/sys/kernel/osrelease", "/proc/cmdline"),
    commands=(Command("df -P", ("df", "-P")), Command("ethtool -k", ("ethtool", "-k", "{}"), each="/x/*")),
)


def answer(index: object, contents: bytes = CONTENTS) -> Completed:
    """Return what a host prints."""
    text = json.dumps(index).encode()
    packed = zlib.compress(struct.pack(">I", len(text)) + text + contents)
    return Completed(("python3",), 0, packed, b"")


def on_this(done: Completed) -> dict[str, tuple[str, str]]:
    """Return state and text of the facts in a host's answer."""
    facts = fingerprint_in(host_specs(["bench", "absent"]), on_host.parse_answer(done, ASKED)).facts
    return {fact.name: (fact.state.value, fact.value) for fact in facts}


def test_the_three_states_are_kept_apart():
    found = on_this(answer(INDEX))
    assert found["kernel.release"] == ("present", "6.1")
    assert found["kernel.cmdline"] == ("missing", "")
    assert found["lsm.selinux"] == ("denied", "")
    assert found["cgroup.version"] == ("present", "2")
    assert found["env.LD_PRELOAD"] == ("present", "/x\\xff")
    assert found["tool.bench.sha256"] == ("present", "ab")
    assert found["tool.absent.path"] == ("missing", "")
    assert found["storage.free"] == ("present", "size")
    assert found["time.chrony"] == ("missing", "")
    assert set(found) > {spec.name for spec in REGISTRY}


def test_what_was_not_reached_may_be_there():
    found = on_this(answer({**INDEX, "is_whole": False}))
    assert found["kernel.version"] == ("denied", "")
    assert found["kernel.release"] == ("present", "6.1")
    assert found["kernel.cmdline"] == ("missing", "")


WHOLE = answer(INDEX).stdout


@pytest.mark.parametrize("length", range(len(WHOLE)))
def test_an_answer_cut_short_anywhere_is_refused(length):
    with pytest.raises(OutputError, match="damaged"):
        on_host.parse_answer(Completed((), 0, WHOLE[:length], b""), ASKED)


@pytest.mark.parametrize(
    "damaged",
    [
        Completed((), 0, b"Welcome to h1\n" + WHOLE, b""),
        Completed((), 0, WHOLE + b"bye\n", b""),
        Completed((), 1, b"", b"SyntaxError: invalid syntax\n"),
        answer(INDEX, CONTENTS[:-1]),
        answer(INDEX, CONTENTS + b"x"),
        answer([]),
        answer({**INDEX, "files": [["/proc/cmdline", [["/proc/cmdline", -1]]]]}),
        answer({**INDEX, "outputs": [["df -P", 0, 5]]}),
        answer({**INDEX, "programs": ["x"]}),
        answer({name: value for name, value in INDEX.items() if name != "there"}),
        answer({**INDEX, "outputs": []}, b"6.1\n"),
        answer({**INDEX, "files": INDEX["files"][:1]}),
    ],
    ids=range(12),
)
def test_a_damaged_answer_is_refused(damaged):
    with pytest.raises(OutputError, match="damaged"):
        on_host.parse_answer(damaged, ASKED)


@pytest.mark.parametrize("code", [126, 127])
def test_a_host_without_python_is_told_what_to_do(code):
    with pytest.raises(OutputError, match="need Python: sh: python3: not found") as caught:
        on_host.parse_answer(Completed((), code, b"", b"sh: python3: not found\n"), ASKED)
    assert "ansible_python_interpreter" in str(caught.value.hint)


def test_a_container_that_could_not_be_entered_is_told_from_one_without_facts():
    with pytest.raises(on_host.NotEntered):
        on_host.parse_answer(answer({**INDEX, "has_begun": False, "is_whole": False}), ASKED)


def test_why_python_failed_is_told():
    with pytest.raises(OutputError, match="No module named zlib"):
        on_host.parse_answer(Completed((), 1, b"", b"ModuleNotFoundError: No module named zlib\n"), ASKED)


# --- an environment's answer --------------------------------------------------------------------------------

MARK = "perfctl-0123"
INSIDE = request_of(inside_specs(["bench"], version_argvs=[["bench", "-V"]]))
COMMANDS = [f"output {one.key}" for command in INSIDE.commands for one in command.chain]
OUT = (
    f"\n{MARK} program bench /usr/bin/bench\n{'a' * 64}  /usr/bin/bench\n\n{MARK} code 0\n"
    f"\n{MARK} variable LD_PRELOAD\n/x\n"
    + "".join(f"\n{MARK} {command}\nits output\n\n{MARK} code 0\n" for command in COMMANDS)
    + f"\n{MARK} listed\n/sys/fs/cgroup/cpu\n"
    f"\n{MARK} files\n/proc/sys/kernel/osrelease:6.1: a\n/proc/self/cgroup:4:pids:/own\n"
    f"/sys/devices/system/cpu/vulnerabilities/mds:Not affected\n/sys/class/net/eth0/mtu:1500\n"
    f"\n{MARK} code 2\n\n{MARK} end\n"
)
HEADS = [
    *("program bench /usr/bin/bench", "code 0", "variable LD_PRELOAD"),
    *(head for command in COMMANDS for head in (command, "code 0")),
    *("listed", "files", "code 2", "end"),
]
ERR = "".join(f"\n{MARK} {head}\n" for head in HEADS).replace(
    " files\n",
    " files\ngrep: /proc/sys/kernel/version: Permission denied\n"
    "grep: /sys/fs/cgroup/pids/own/pids.max: No such file or directory\n",
)


def inside_of(out: str = OUT, err: str = ERR, request: Request = INSIDE) -> dict[str, tuple[str, str]]:
    """Return state and text of the facts in an environment's answer."""
    done = Completed((), 0, out.encode(), err.encode())
    specs = inside_specs(["bench"], version_argvs=[["bench", "-V"]])
    facts = fingerprint_in(specs, inside.parse_answer(done, request, MARK)).facts
    return {fact.name: (fact.state.value, fact.value) for fact in facts}


def test_an_environments_answer_has_the_same_facts():
    found = inside_of()
    assert found["kernel.release"] == ("present", "6.1: a")
    assert found["kernel.version"] == ("denied", "")
    assert found["os.release"] == ("present", ""), "of an empty file nothing is printed"
    assert found["cpu.vulnerabilities"] == ("present", "mds: Not affected")
    assert found["numa.policy"] == ("present", "its output")
    assert found["env.LD_PRELOAD"] == ("present", "/x\n")
    assert found["env.MALLOC_CONF"] == ("missing", "")
    assert found["cgroup.version"] == ("present", "1")
    assert found["net.links"] == ("present", "eth0 mtu=1500")
    assert found["tool.bench.path"] == ("present", "/usr/bin/bench")
    assert found["tool.bench.sha256"] == ("present", "a" * 64)
    assert found["tool.bench.version"] == ("present", "its output")


def test_the_own_control_group_may_have_a_colon_in_its_name():
    path = "/sys/fs/cgroup/pids/x:cri:1/pids.max"
    out = OUT.replace("4:pids:/own\n", f"4:pids:/x:cri:1\n{path}:77\n")
    assert inside_of(out)["cgroup.pids_max"] == ("present", "77")
    assert inside_of(out.replace(f"{path}:77\n", ""))["cgroup.pids_max"] == ("present", "")


def test_without_a_reader_files_are_not_called_missing():
    out = OUT.replace("code 2", "code 127").replace("/proc/sys/kernel/osrelease:6.1: a\n", "")
    found = inside_of(out, ERR.replace("code 2", "code 127"))
    assert found["kernel.release"] == ("denied", "")
    assert found["cpu.vulnerabilities"] == ("present", "mds: Not affected")


@pytest.mark.parametrize("code", [126, 127])
def test_an_environment_without_a_shell_is_told_from_a_damaged_answer(code):
    done = Completed((), code, b"", b"sh: not found\n")
    with pytest.raises(inside.NoShell, match="need a POSIX shell: sh: not found"):
        inside.parse_answer(done, INSIDE, MARK)


def test_what_could_not_be_run_may_be_there():
    specs = inside_specs(["bench"], version_argvs=[["bench", "-V"], ["absent", "-V"]])
    programs = {"bench": RawProgram("/bench", "ab"), "absent": RawProgram(None)}
    raw = RawFacts({}, programs=programs, unrun=FactState.DENIED)
    states = {fact.name: fact.state for fact in fingerprint_in(specs, raw).facts}
    of_commands = {spec.name for spec in REGISTRY if spec.inside_way == "command"} | {"tool.bench.version"}
    assert {name for name, state in states.items() if state is FactState.DENIED} == of_commands
    assert states["tool.absent.version"] is states["kernel.release"] is FactState.MISSING


def test_an_environments_answer_cut_short_anywhere_is_refused():
    # Of a part that is whole the newline before the next mark may be missing, of the last one nothing may.
    for length in range(len(OUT) - 1):
        with pytest.raises(OutputError):
            inside_of(OUT[:length])
    for length in range(len(ERR) - 1):
        with pytest.raises(OutputError):
            inside_of(err=ERR[:length])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f"\n{MARK} code 2\n", ""),
        (f"\n{MARK} output numactl --show\nits output\n\n{MARK} code 0\n", ""),
        (f"\n{MARK} listed\n", f"\n{MARK} listed\n\n{MARK} listed\n"),
        (f"\n{MARK} code 0\n\n{MARK} variable", f"\n{MARK} variable"),
        (f"{MARK} code 2", f"{MARK} code x"),
        (f"{MARK} end\n", f"{MARK} end\nbye\n"),
        (f"{MARK} listed", f"{MARK} files"),
        (MARK, "perfctl-4567"),
    ],
)
def test_a_damaged_answer_of_an_environment_is_refused(old, new):
    assert old in OUT
    with pytest.raises(OutputError):
        inside_of(OUT.replace(old, new))
    with pytest.raises(OutputError):
        inside_of(OUT.replace(old, new), ERR.replace(old, new) if "files" not in new else ERR)


# --- values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", HOSTS)
def test_every_fact_of_a_real_host_is_of_its_type(host):
    for name, state, text in rows_of(host):
        if state == FactState.PRESENT:
            assert isinstance(type_of(name).read(text), type_of(name).value_class), name


@pytest.mark.parametrize("case", PARSED)
def test_every_fact_of_a_real_file_is_of_its_type(case):
    for name, text in expected_of(case).items():
        if isinstance(text, str):
            assert isinstance(type_of(name).read(text), type_of(name).value_class), name


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (values.TEXT, "", ""),
        (values.NUMBER, "60", 60),
        (values.NUMBER, "-1", -1),
        (values.NUMBER, "max", None),
        (values.NUMBER, "", None),
        (values.NUMBER, "²", None),
        (values.NUMBER, "9" * 5000, None),
        (values.SIZE, "24684096 kB", 24684096 << 10),
        (values.SIZE, "32K", 32 << 10),
        (values.SIZE, "2M", 2 << 20),
        (values.SIZE, "212992", 212992),
        (values.SIZE, "max", None),
        (values.LIST, "0-3,8,10-11", NumberList(((0, 3), (8, 8), (10, 11)))),
        (values.LIST, "", NumberList(())),
        (values.LIST, "0-", None),
        (values.LIST, "x", None),
        (values.NUMBERS, "3600000: 0-3\nx: 4", None),
        (values.ROUTE, "unreachable", None),
        (values.LOAD_AVERAGE, "0.10 0.20 0.30 1/2 3", LoadAverage(0.1)),
        (values.LOAD_AVERAGE, "0.10", None),
        (values.LINKS, "eth0 mtu=1500 DRIVER=igb lower=a,b", {
            "eth0": Link(mtu_bytes=1500, driver="igb", lower=("a", "b"))
        }),
        (values.SWAP_AREAS, "Filename Type Size Used Priority\n/x partition 1 y -2", None),
        (values.CPU_TICKS, "cpu 1 2 3", None),
        (values.COUNTS, "docker: x", None),
        (values.SETTINGS, "[]", None),
    ],
)  # fmt: skip
def test_what_a_text_means(kind, text, value):
    assert kind.read(text) == value


def test_values_and_how_many_have_each():
    frequencies = values.NUMBERS.read("3600000: 0-63,70\n800000: 64")
    assert frequencies.counts == {3600000: 65, 800000: 1}
    assert values.TEXTS.read("state: 1: 0-1").counts == {"state: 1": 2}
    assert values.TEXTS.read("none: sda,sdb").counts == {"none": 2}
    assert values.TEXTS.read("").groups == ()
    caches = values.SIZES.read("index0=32K: 0-1\nindex1=32K: 0-1\nindex2=2M: 0")
    assert [(group.part, group.value, group.count) for group in caches.groups] == [
        ("index0", 32 << 10, 2),
        ("index1", 32 << 10, 2),
        ("index2", 2 << 20, 1),
    ]


def test_a_value_is_of_the_facts_own_type():
    facts = fingerprint(("cpu.online", "0-3"), ("lsm.list", None), ("net.route.192.0.2.1", "x dev eth1 y"))
    online = value_of(facts, "cpu.online", NumberList)
    assert online is not None and online.count == 4
    assert value_of(facts, "lsm.list", str) is None
    assert value_of(facts, "no.such", str) is None
    assert value_of(None, "cpu.online", NumberList) is None
    route = value_of(facts, "net.route.192.0.2.1", values.Route)
    assert route is not None and route.interface == "eth1"
    with pytest.raises(TypeError, match=r"cpu\.online is list of numbers, not Groups"):
        value_of(facts, "cpu.online", Groups)
    denied = replace(facts.facts[0], state=FactState.DENIED)
    assert read_value(denied, NumberList) is None


# --- what changed -------------------------------------------------------------------------------------------


def test_diff_is_empty_for_equal_readings():
    facts = fingerprint_of("virtual-machine")
    assert diff(facts, fingerprint_of("virtual-machine"), dynamic=True) == []


def test_diff_tells_old_and_new():
    before = fingerprint(("cpu.freq.governor", "performance: 0-7"), ("cpu.boost", "1"), ("lsm.list", None))
    after = fingerprint(("cpu.freq.governor", "powersave: 0-7"), ("cpu.boost", "1"), ("lsm.list", "bpf"))
    assert [str(change) for change in diff(before, after)] == [
        "cpu.freq.governor: performance: 0-7 -> powersave: 0-7",
        "lsm.list: missing -> bpf",
    ]


def test_diff_of_long_texts_shows_the_first_line_that_differs():
    (change,) = diff(
        fingerprint(("net.links", "lo\neth0\neth1")), fingerprint(("net.links", "lo\neth0\neth2"))
    )
    assert str(change) == "net.links: eth1 -> eth2"


@pytest.mark.parametrize(
    ("old", "new", "said"), [("lo", "lo\neth0", "(end) -> eth0"), ("lo\na", "lo", "a -> (end)")]
)
def test_diff_of_texts_of_different_length(old, new, said):
    (change,) = diff(fingerprint(("net.links", old)), fingerprint(("net.links", new)))
    assert str(change) == f"net.links: {said}"


def test_diff_names_rows_that_only_one_reading_has():
    assert [str(c) for c in diff(fingerprint(), fingerprint(("cpu.boost", "1")))] == [
        "cpu.boost: not read -> 1"
    ]
    assert [str(c) for c in diff(fingerprint(("cpu.boost", "1")), fingerprint())] == [
        "cpu.boost: 1 -> not read"
    ]


def test_dynamic_rows_count_neither_for_the_hash_nor_unasked_for_the_difference():
    old, new = (
        Fingerprint((Fact("load.average", FactState.PRESENT, text, is_static=False),)) for text in "12"
    )
    assert old.key == new.key
    assert diff(old, new) == []
    assert [change.name for change in diff(old, new, dynamic=True)] == ["load.average"]


# --- the registry -------------------------------------------------------------------------------------------


def test_names_are_unique_and_dotted():
    names = [spec.name for spec in REGISTRY]
    assert len(set(names)) == len(names)
    assert all("." in name and " " not in name and "|" not in name for name in names)


def test_nothing_inside_needs_what_only_a_host_has():
    request = request_of(inside_specs())
    assert not any(command.each or command.last_bytes for command in request.commands)
    assert not any("{" in path or " " in path for path in (*request.files, *request.listed))
    assert all(name.isidentifier() for name in request.variables)


def test_what_needs_a_command_inside_is_little():
    ways = {spec.name: spec.inside_way for spec in REGISTRY}
    assert {name for name, way in ways.items() if way == "command"} == {
        *("numa.policy", "libc.version", "python.version", "python.build", "python.packages")
    }
    assert {name for name, way in ways.items() if way} == {spec.name for spec in REGISTRY if spec.inside}


def test_each_file_and_command_is_asked_for_once():
    request = request_of(host_specs(["a", "a"], version_argvs=[["a", "-V"], ["a", "-V"]], peers=["x", "x"]))
    assert len(set(request.files)) == len(request.files)
    keys = [one.key for command in request.commands for one in command.chain]
    assert len(set(keys)) == len(keys)
    assert request.programs == ("a",)


def test_who_comes_first_with_a_name_has_the_row():
    specs = host_specs(["/opt/bench", "bench"], version_argvs=[["/opt/bench", "-V"], ["bench", "-V"]])
    assert request_of(specs).programs == ("/opt/bench",)
    assert [spec.name for spec in specs if spec.name.startswith("tool.")] == [
        "tool.bench.path",
        "tool.bench.sha256",
        "tool.bench.version",
    ]


@pytest.mark.parametrize("name", ["two words", "$(id)", "a;b", "", "a\nb", "a'b"])
def test_a_program_that_cannot_name_a_row_is_refused(name):
    with pytest.raises(ValueError, match="cannot name"):
        host_specs([name])
    with pytest.raises(ValueError, match="cannot name"):
        host_specs(peers=[name])
    with pytest.raises(ValueError, match="cannot name"):
        inside_specs(version_argvs=[[name, "-V"]])


def test_the_documentation_has_the_table():
    assert markdown_table() in DOCS.read_text(encoding="utf-8"), (
        "put the output of markdown_table() into docs/facts.md"
    )
