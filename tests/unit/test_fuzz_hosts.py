"""Any ssh_config, inventory, facts and kernel log: no error but ours, no hang, nothing executed.

The number of examples is the profile's.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perfctl import facts
from perfctl.errors import OutputError, PerfctlError, UsageError
from perfctl.facts import host as host_facts
from perfctl.facts.registry import Gathered
from perfctl.inventory.hosts import hosts_in, parse_ssh_arguments
from perfctl.inventory.template import Resolver
from perfctl.inventory.vault import Vault
from perfctl.model import Fact, FactState, Fingerprint, Host
from perfctl.plan import make_plan
from perfctl.ssh.config import SshSettings, settings_for, split_jumps
from perfctl.ssh.known_hosts import check_host_key
from perfctl.suites import load_suite
from perfctl.validity.kernel_log import by_kind, kind_of, messages_of
from perfctl.validity.preflight import judge_host

_AT_ITS_OWN_PACE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Beside other tests an example may take long; what hangs runs into the test's own time limit."""

ANY = st.text(max_size=40)
"""Of any characters, halves of surrogate pairs and NUL among them."""


# ---- ssh ---------------------------------------------------------------------------------------------------

_OPTIONS = [
    *("HostName", "HostKeyAlias", "User", "Port", "IdentityFile", "CertificateFile", "IdentityAgent"),
    *("UserKnownHostsFile", "GlobalKnownHostsFile", "ProxyCommand", "ProxyJump", "ControlPath"),
    *("StrictHostKeyChecking", "Host", "Match", "Nonsense"),
]
_PIECES = st.sampled_from(
    [
        *(
            "%h",
            "%n",
            "%p",
            "%r",
            "%k",
            "%%",
            "%C",
            "%d",
            "%i",
            "%j",
            "%L",
            "%l",
            "%u",
            "%T",
            "%",
            "~",
            "~root/",
        ),
        *("${HOME}", "${NO_SUCH_VARIABLE}", "${", "$HOME", "$(touch EXECUTED)", "`touch EXECUTED`"),
        *(
            "; touch EXECUTED",
            "| touch EXECUTED",
            "\\",
            '"',
            "'",
            "/",
            " ",
            ",",
            "@",
            ":",
            "[",
            "]",
            "-",
            "none",
        ),
        *("box", "gw", "22", "99999999999", "ssh://", "fe80::1%eth0", "\xe9", "\t", "=", "#"),
    ]
)
_VALUES = st.lists(_PIECES, max_size=6).map("".join)
_LINES = st.builds("{} {}".format, st.sampled_from(_OPTIONS), _VALUES) | st.text(max_size=20)
_NAMES = _VALUES | ANY


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Return a folder in which nothing may appear."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@_AT_ITS_OWN_PACE
@given(
    st.lists(_LINES, max_size=6),
    _NAMES,
    st.none() | _NAMES,
    st.none() | _NAMES,
    st.lists(_VALUES, max_size=2),
)
def test_any_ssh_config_gives_settings_or_a_usage_error(
    folder: Path, lines: list[str], address: str, user: str | None, key: str | None, options: list[str]
) -> None:
    mark = folder / "executed"
    config = folder / "ssh_config"
    # What a user lets ssh execute is the user's business: `Match exec`.
    text = "\n".join(line for line in lines if "exec" not in line.lower())
    config.write_bytes(text.replace("EXECUTED", str(mark)).encode("utf-8", "surrogatepass"))
    host = Host(
        "h1",
        address.replace("EXECUTED", str(mark)),
        user=user.replace("EXECUTED", str(mark)) if user else None,
        private_key=Path(key) if key else None,
        ssh_options=(("ConfigFile", str(config)), *(("IdentityFile", value) for value in options)),
    )
    try:
        found = settings_for(host)
        for each in (found, *found.jumps):
            assert each.known_as and each.hostname
            if each.proxy_command:
                each.expand(each.proxy_command, "ProxyCommand")
    except UsageError as error:
        assert str(error.where).startswith("h1")
    assert not mark.exists()


@_AT_ITS_OWN_PACE
@given(ANY)
def test_any_text_is_split_into_jump_hosts(text: str) -> None:
    assert len(split_jumps(text)) == text.count(",") + 1


@_AT_ITS_OWN_PACE
@given(st.binary(max_size=200) | ANY.map(lambda text: f"box {text}".encode("utf-8", "surrogatepass")))
def test_any_known_hosts_file_is_read(folder: Path, content: bytes) -> None:
    file = folder / "known_hosts"
    file.write_bytes(content)
    with pytest.raises(PerfctlError):
        check_host_key(
            SshSettings("h1", "box", 22, "u", user_known_hosts=(file,)), "ssh-ed25519", b"not in any file"
        )


@_AT_ITS_OWN_PACE
@given(_VALUES | ANY)
def test_any_ssh_arguments_are_read_or_refused(text: str) -> None:
    try:
        pairs = parse_ssh_arguments(text, "h1")
    except UsageError as error:
        assert error.where == "h1"
    else:
        assert all(key for key, _ in pairs)


# ---- inventories -------------------------------------------------------------------------------------------

_VARIABLES = [
    *("ansible_host", "ansible_port", "ansible_user", "ansible_connection", "ansible_password"),
    *("ansible_become", "ansible_become_password", "ansible_become_method", "ansible_become_user"),
    *("ansible_ssh_private_key_file", "ansible_ssh_common_args", "ansible_ssh_extra_args"),
    *("ansible_ssh_args", "perf_test_address", "perf_resource", "other"),
]
_TEMPLATES = st.sampled_from(
    [
        *(
            "{{ other }}",
            "{{ other.x[0] }}",
            "{{ other['x'] | default('y') }}",
            "{{ ansible_host }}",
            "{{",
            "}}",
        ),
        *("{% if x %}", "{{ lookup('env', 'HOME') }}", "{{ lookup('pipe', 'touch EXECUTED') }}", "{{ a b }}"),
        *(
            "fe80::1/64",
            "10.0.0.1/16",
            "22",
            "yes",
            "sudo",
            "local",
            "ssh",
            "~/x",
            "~no-such-user/x",
            "-o A=b",
        ),
    ]
)
_TEXTS = st.lists(_TEMPLATES | st.text(max_size=8), max_size=3).map("".join)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "y", "0"]), inner, max_size=3)
    ),
    max_leaves=6,
)


_NAMES_OF_HOSTS = st.from_regex(r"\w[\w.:%@-]*", fullmatch=True) | ANY
"""Most of any text is no name for a host, and is refused before anything else is read."""


@_AT_ITS_OWN_PACE
@given(
    st.dictionaries(
        _NAMES_OF_HOSTS,
        st.dictionaries(st.sampled_from(_VARIABLES), _TEMPLATES | _JSON, max_size=6),
        min_size=1,
        max_size=3,
    )
)
def test_any_inventory_gives_hosts_or_a_usage_error(variables: dict[str, Any]) -> None:
    listing = {"_meta": {"hostvars": variables}, "all": {"children": ["ungrouped"]}}
    try:
        hosts = hosts_in(listing, Resolver(("/fleet/hosts.yml",), Vault(())))
    except PerfctlError as error:
        assert error.where is not None
    else:
        assert [host.name for host in hosts] == list(variables)
        try:
            make_plan(load_suite("net"), hosts, seed="1")
        except PerfctlError as error:
            assert error.where is not None


# ---- facts -------------------------------------------------------------------------------------------------

_NAMES_OF_FACTS = [spec.name for spec in facts.REGISTRY]
_WORDS = st.sampled_from(
    [
        *(
            "0-3",
            "0-",
            "3-0",
            "99999999999999999999",
            "eth0",
            "mtu=1500",
            "speed=10000",
            "lower=eth0",
            "DRIVER=igb",
        ),
        *(
            "master=br0",
            "DEVTYPE=bridge",
            "/dev/sda1",
            "/",
            "/a\\040b",
            "\\777",
            "ext4",
            "rw",
            "tmpfs",
            "performance:",
        ),
        *(
            "some avg10=99.99",
            "cpu",
            "0.5",
            "=4K:",
            "index0=32K:",
            "docker",
            "\n",
            "\n",
            "\u0661",
            "-1",
            "nan",
        ),
    ]
)
_FACT_TEXTS = st.lists(_WORDS | st.text(max_size=5), max_size=12).map(" ".join)
_FACTS = st.lists(
    st.builds(
        Fact, st.sampled_from(_NAMES_OF_FACTS), st.sampled_from(list(FactState)), _FACT_TEXTS, st.booleans()
    ),
    max_size=12,
).map(lambda found: Fingerprint(tuple({fact.name: fact for fact in found}.values())))


@_AT_ITS_OWN_PACE
@given(_FACTS, _FACTS)
def test_any_facts_are_judged(found: Fingerprint, earlier: Fingerprint) -> None:
    judge_host(found, previous=earlier)
    facts.diff(earlier, found, dynamic=True)
    host_facts.largest_cache_bytes(found)
    host_facts.is_on_local_disk(found, "/a b/c")
    for link in ("eth0", "br0"):
        host_facts.wire_speed_mbit_s(found, link)
        host_facts.mtu_bytes(found, link)


@_AT_ITS_OWN_PACE
@given(
    st.text(max_size=200)
    | st.lists(
        st.sampled_from(
            ["=kernel.release present", " text", "=cpu.model missing", "=x denied", "#rows 1", "#end"]
        ),
        max_size=12,
    ).map("\n".join)
)
def test_any_text_is_facts_or_refused(text: str) -> None:
    try:
        found = facts.parse(text)
    except OutputError:
        return
    assert text.rstrip("\n").endswith("#end") and len(found.facts) == text.count("\n=") + text.startswith("=")


_CPUINFO = st.lists(
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
_MOUNT_LINES = st.lists(
    st.lists(
        st.sampled_from(["tmpfs", "/dev/sda1", "/", "/x\\040y", "overlay", "ext4", "rw,lowerdir=/a", "0"])
    ).map(" ".join),
    max_size=8,
)
_AWK_ROWS = [
    f"{spec.name}|{spec.source.kind}|{spec.source.pattern}|{spec.source.key}"
    for spec in facts.REGISTRY
    if isinstance(spec.source, Gathered) and spec.source.kind in ("cpuinfo", "mounts")
]


@_AT_ITS_OWN_PACE
@given(_CPUINFO, _MOUNT_LINES)
def test_any_cpuinfo_and_mounts_keep_the_frame_of_the_facts(cpuinfo: list[str], mounts: list[str]) -> None:
    lines = [f"/proc/cpuinfo:{line}" for line in cpuinfo] + [f"/proc/self/mounts:{line}" for line in mounts]
    program = (Path(facts.__file__).parent / "gather.awk").read_text()
    done = subprocess.run(
        ["awk", program, *_AWK_ROWS],
        input="".join(f"{line}\n" for line in ["/proc/cpuinfo:", *lines]).encode(),
        capture_output=True,
        timeout=60,
        check=True,
    )
    text = done.stdout.decode("utf-8", "backslashreplace").removesuffix("#gathered\n")
    found = facts.parse(f"{text}#rows {len(_AWK_ROWS)}\n#rows 0\n#end\n")
    assert len(found.facts) == len(_AWK_ROWS)


# ---- the kernel's log --------------------------------------------------------------------------------------

_LOG_WORDS = st.sampled_from(
    [
        *(
            "alloc",
            "skb",
            "failed",
            "error",
            "dev",
            "sda,",
            "sector",
            "ata1:",
            "nvme0",
            "timeout",
            "XFS",
            "BTRFS",
        ),
        *(
            "EXT4-fs",
            "(sda1):",
            "link",
            "is",
            "down",
            "rcu",
            "stall",
            "out of memory",
            "TCP:",
            "md:",
            "EDAC",
            "CE",
        ),
    ]
)
_LOG_LINES = st.lists(_LOG_WORDS, max_size=40).map(" ".join) | st.text(max_size=80)


@_AT_ITS_OWN_PACE
@given(st.lists(_LOG_LINES, max_size=10))
def test_any_line_of_the_kernels_log_has_one_kind_or_none(lines: list[str]) -> None:
    found = by_kind(lines)
    assert sum(map(len, found.values())) == sum(kind_of(line) is not None for line in lines)


@_AT_ITS_OWN_PACE
@given(
    st.lists(st.text(max_size=60) | st.builds("{},{},{},-;{}".format, st.integers(), st.integers(), ANY, ANY))
)
def test_any_record_of_the_kernels_log_is_read(records: list[str]) -> None:
    assert len(messages_of(records)) <= len(records)


@_AT_ITS_OWN_PACE
@given(st.lists(_LOG_WORDS, min_size=1, max_size=3))
def test_a_line_without_end_is_no_hang(words: list[str]) -> None:
    kind_of(" ".join(words * 10_000))
