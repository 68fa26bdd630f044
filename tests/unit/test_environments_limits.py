"""Limits without a host: the words that make them, and whether they hold; keys of environments."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from perfctl.environments import CATALOGUE, environment
from perfctl.environments.container import Docker
from perfctl.environments.container.engine import OOM_ARGV
from perfctl.environments.limits import (
    CONTAINER_LIMITS_ARGV,
    affinity_argv,
    not_in_force,
    oom_kills,
    scope_properties,
)
from perfctl.environments.native import NativeDriver
from perfctl.environments.scope import key_values
from perfctl.errors import EnvironmentDied, EnvironmentNotMade, EnvironmentUnavailable
from perfctl.model import Environment
from perfctl.shell import Completed
from tests.unit.test_environments import INVOCATION_ID, RUN_ID, ScriptedHost, answering, driver, said

EVERYTHING: dict[str, Any] = {
    "cpuset_cpus": "0-1",
    "cpuset_mems": "0",
    "cpu_quota": 1.5,
    "memory_mib": 512,
}
HELD = {
    "cpus": "0-1",
    "nodes": "0",
    "online": "2",
    "quota": "150000 100000",
    "memory": "536870912",
    "swap": "capped",
}


def native(**limits: Any) -> Environment:
    return Environment("limited", "native", **limits)


# --- the words ----------------------------------------------------------------------------------------------


def test_a_containers_limits_are_options_of_docker_and_swap_is_no_way_out() -> None:
    argv = Docker().run_argv(replace(environment("container"), **EVERYTHING), "c1", {})
    assert argv[7 : argv.index("--entrypoint")] == [
        *["--network", "bridge", "--cpuset-cpus", "0-1", "--cpuset-mems", "0"],
        *["--cpus", "1.50", "--memory", "512m", "--memory-swap", "512m"],
    ]


@pytest.mark.parametrize(
    ("limits", "argv"),
    [
        ({}, []),
        ({"cpuset_cpus": "1,3"}, ["taskset", "-c", "1,3"]),
        ({"cpu_quota": 1.0, "memory_mib": 64}, []),
    ],
)
def test_affinity(limits: dict[str, Any], argv: list[str]) -> None:
    assert affinity_argv(native(**limits)) == argv


def test_affinity_to_nodes_keeps_the_exit_code_of_a_program_that_is_not_there() -> None:
    both = affinity_argv(native(cpuset_cpus="1", cpuset_mems="0"))
    assert both[:3] == ["numactl", "--physcpubind=1", "--membind=0"]
    assert affinity_argv(native(cpuset_mems="0"))[:2] == ["numactl", "--membind=0"]
    assert both[3:] == ["sh", "-c", 'exec "$@"', "sh"]


def test_a_scope_can_be_joined_and_outlives_a_process_that_ran_out_of_memory() -> None:
    stock = scope_properties(native())
    assert "Delegate=yes" in stock
    held = scope_properties(native(**EVERYTHING))
    assert held == [*stock, "CPUQuota=150%", "MemoryMax=536870912", "MemorySwapMax=0"]
    assert scope_properties(native(cpu_quota=0.07))[-1] == "CPUQuota=7%"


# --- whether they hold --------------------------------------------------------------------------------------


def test_all_hold() -> None:
    assert not_in_force(native(**EVERYTHING), HELD) is None
    assert not_in_force(native(), {}) is None


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"cpus": "1"}, "of the CPUs 0-1 only 1 are available"),
        ({"cpus": None}, "of the CPUs 0-1 only none are available"),
        ({"cpus": "0-3"}, "of the CPUs 0-1"),
        ({"nodes": "0,1"}, "of the NUMA nodes 0"),
        ({"nodes": None}, "of the NUMA nodes 0 only none are available"),
        ({"online": "1"}, "a quota of 1.5 CPUs is no limit: the host has 1"),
        ({"quota": "max 100000"}, "the quota of 1.5 CPUs is not in force"),
        ({"quota": "-1 100000"}, "the quota of 1.5 CPUs is not in force"),
        ({"quota": " "}, "the quota of 1.5 CPUs is not in force"),
        ({"quota": "100000 100000"}, "the quota of 1.5 CPUs is not in force"),
        ({"memory": "max"}, "the limit of 512 MiB is not in force"),
        ({"memory": "9223372036854771712"}, "the limit of 512 MiB is not in force"),
        ({"memory": None}, "the limit of 512 MiB is not in force"),
        ({"memory": "", "lacks": "cpu memory"}, "of version 2, without the controller memory"),
        ({"quota": "", "lacks": "cpu memory"}, "of version 2, without the controller cpu"),
        ({"swap": ""}, "does not count swap"),
    ],
)
def test_one_that_does_not_hold_is_named(changed: Mapping[str, str | None], words: str) -> None:
    found = {key: value for key, value in (HELD | dict(changed)).items() if value is not None}
    assert words in str(not_in_force(native(**EVERYTHING), found))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("low 0\nhigh 0\nmax 37\noom 1\noom_kill 2\noom_group_kill 0\n", 2),
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", 1),
        ("oom_kill_disable 0\nunder_oom 0\n", 0),
        ("", 0),
    ],
)
def test_counting_what_the_kernel_killed(text: str, count: int) -> None:
    assert oom_kills(text) == count


def test_lines_of_a_script() -> None:
    assert key_values("cpus=0-1\nnoise\nquota=1 2 \nswap=\n") == {"cpus": "0-1", "quota": "1 2", "swap": ""}


# --- read back from control groups --------------------------------------------------------------------------

_V2 = {
    "cgroup.controllers": "cpuset cpu memory pids",
    "own/cpu.max": "150000 100000",
    "own/memory.max": "536870912",
    "own/memory.swap.max": "0",
}
_V1 = {
    "cpu/cpu.cfs_quota_us": "150000",
    "cpu/cpu.cfs_period_us": "100000",
    "memory/memory.limit_in_bytes": "536870912",
    "memory/memory.memsw.limit_in_bytes": "536870912",
}


def read_back(folder: Path, files: Mapping[str, str], shell: Sequence[str]) -> dict[str, str]:
    """Return what is read inside a container whose control groups are files in a folder."""
    for name, text in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    (folder / "own").write_text("9:memory:/docker/a\n0::/own\n")
    (folder / "meminfo").write_text("MemTotal:  100 kB\nSwapTotal:  100 kB\n")
    script = CONTAINER_LIMITS_ARGV[2].replace("/sys/fs/cgroup", str(folder / "cgroup"))
    script = script.replace("/proc/self/cgroup", str(folder / "own"))
    script = script.replace("/proc/meminfo", str(folder / "meminfo"))
    done = subprocess.run([*shell, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stderr == ""
    return key_values(done.stdout)


@pytest.mark.parametrize("shell", [["sh"], ["busybox", "sh"]], ids=["sh", "busybox"])
@pytest.mark.parametrize("files", [_V1, _V2], ids=["version 1", "version 2"])
def test_a_container_reads_its_own_limits(tmp_path: Path, files: dict[str, str], shell: list[str]) -> None:
    found = read_back(tmp_path, files, shell)
    assert {key: found[key] for key in ("quota", "memory", "swap")} == {
        key: HELD[key] for key in ("quota", "memory", "swap")
    }
    assert "lacks" not in found
    assert (int(found["online"]), found["cpus"] != "") == (os.cpu_count(), True)


def test_a_version_2_without_controllers_has_no_limits_and_says_so(tmp_path: Path) -> None:
    found = read_back(tmp_path, {"cgroup.controllers": "", "own/cpu.stat": "usage_usec 1"}, ["sh"])
    assert (found["quota"], found["memory"], found["swap"]) == ("", "", "")
    assert found["lacks"] == "cpu memory"


def test_a_limit_that_docker_drops_silently_is_no_limit() -> None:
    made = driver_of(replace(environment("container"), memory_mib=64))
    host = answering(run=said(0, "online=2\nmemory=\nlacks=memory\n"))
    with pytest.raises(EnvironmentUnavailable, match="the limit of 64 MiB is not in force: control groups"):
        made.check(host)
    made.check(answering(run=said(0, "online=2\nmemory=67108864\nswap=capped\n")))


def test_a_container_without_limits_or_with_a_kernel_of_its_own_is_only_started() -> None:
    for wanted in (
        environment("container"),
        replace(environment("container"), memory_mib=64, runtime="runsc"),
    ):
        host = answering(run=said())
        driver_of(wanted).check(host)
        assert host.asked[0][host.asked[0].index("--entrypoint") + 1] == "true"


# --- docker's warnings --------------------------------------------------------------------------------------

_DISCARDED = "WARNING: Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded."
_SWAP = (
    "WARNING: Your kernel does not support swap limit capabilities or the cgroup is not mounted. "
    "Memory limited without swap."
)
_SWAPS = "Filename\tType\tSize\tUsed\tPriority\n"


def limited_container(stderr: str, swaps: str) -> tuple[Any, ScriptedHost]:
    answers = {"run": said(0, "id\n", stderr), "/proc/swaps": said(0, swaps)}
    return (
        driver_of(replace(environment("container"), cpuset_cpus="0", memory_mib=64)),
        answering(**answers),
    )


def driver_of(wanted: Environment) -> Any:
    from perfctl.environments.container import ContainerDriver

    return ContainerDriver(wanted, run_id=RUN_ID, invocation_id=INVOCATION_ID, host_address="192.0.2.1")


@pytest.mark.parametrize(
    ("stderr", "swaps"), [(_DISCARDED, _SWAPS), (_SWAP, _SWAPS + "/swapfile file 1024 0 -2\n")]
)
def test_a_limit_that_docker_drops_is_no_limit(stderr: str, swaps: str) -> None:
    made, host = limited_container(stderr, swaps)
    with pytest.raises(EnvironmentUnavailable, match="a limit is not in force: Your kernel"):
        made.check(host)
    with pytest.raises(EnvironmentUnavailable, match="a limit is not in force"), made.open(host):
        pytest.fail("the body ran")
    assert host.verbs()[-1] == "rm"


def test_swap_that_is_not_counted_is_harmless_where_there_is_none() -> None:
    made, host = limited_container(_SWAP, _SWAPS)
    with made.open(host):
        assert host.verbs() == ["run", "/proc/swaps"]


def test_warnings_about_other_things_do_not_concern_containers_without_limits() -> None:
    with driver().open(answering(run=said(0, "id\n", _DISCARDED))) as shell:
        assert shell.name == "h1/container"


def test_what_left_a_container_no_memory_is_told_from_a_failed_command() -> None:
    def answer(argv: Any) -> Completed:
        if argv[-len(OOM_ARGV) :] == list(OOM_ARGV):
            return said(0, "oom_kill 1\n")
        return said(137, "half") if argv[1] == "exec" else said()

    with driver().open(ScriptedHost(answer)) as shell:
        with pytest.raises(EnvironmentDied) as caught:
            shell.run(["hog"], timeout_s=1)
        assert caught.value.reason == "out_of_memory"
        assert "the host's memory is reached" in str(caught.value)
        # Counted once: the next command that is killed was killed by someone else.
        assert shell.run(["other"], timeout_s=1).exit_code == 137


# --- natively -----------------------------------------------------------------------------------------------


def test_without_limits_a_native_command_is_given_on_as_it_is() -> None:
    host = answering(other=said())
    made = NativeDriver(
        environment("native"), run_id=RUN_ID, invocation_id=INVOCATION_ID, host_address="192.0.2.1"
    )
    made.check(host)
    with made.open(host) as shell:
        shell.run(["some", "command"], timeout_s=1)
        assert (shell.name, shell.is_alive(), shell.state_report()) == ("h1", True, "")
    assert host.asked == [["some", "command"]]


def test_a_program_for_affinity_that_is_missing() -> None:
    host = ScriptedHost(lambda argv: said(127, "", f"sh: 1: {argv[0]}: not found"))
    made = NativeDriver(
        native(cpuset_mems="0"), run_id=RUN_ID, invocation_id=INVOCATION_ID, host_address="192.0.2.1"
    )
    with pytest.raises(EnvironmentNotMade, match="numactl: not found") as caught:
        made.check(host)
    assert caught.value.hint == "install what is missing: perfctl provision"


# --- keys ---------------------------------------------------------------------------------------------------

# As earlier versions computed them, whose results are in databases.
_OLD_KEYS = {
    "native": "0f15c3927e1641ea5d3119fd22bdd6a35dde26b379bfa67d282e52c2cb7802c6",
    "container": "72d9957d28c54b9969ff5b799ed5fe569d8009a9eb1520c120cc7bed5ab9f95e",
    "container-hostnet": "fdc66b9f2a96cf6980e79424a519664926851c62a0342691d3209ee115381332",
    "container-unconfined": "9cf96470e72b4d58fcea5f2bcd6c4ed51cd284223bc9210622c79dc082262a2a",
    "container-apparmor-unconfined": "5bc80eea3f8853c322c59a8d38752b9e9e23b4a3944c26c20c1572f7a476e372",
    "container-allcaps": "9184e8f6f4059279b00a8220c3cf0699cba2e63ce57eb4905f618564a118ca29",
    "container-privileged": "4d49d38b4a2c9e9207e210a1808fbdbd1d45b17b0e650a01d4bca0d64a2c1fee",
    "container-to-native": "6289bd5dee8bfb1e56706138414d7a446f5f127f2b236bd85d79d4b78f1e06b8",
    "vm": "d8ea80c433ef9a9f76f842f46630eb6cb687fddc5f8e43796471d73ae6c84443",
    "container-in-vm": "621a0cde934b85aa4932e9e372eb93bd7ae4f93662a199c2c3c2c6da27e15deb",
    "vm-to-container": "a231c1c0e4df532e1590bff505c705511b284e56be049cded436e13b94bd0a35",
    "vm-to-native": "30e2d28fffbdce5395e1473233f18ff0fc88877794b01a4aec010463de63c4d8",
}


@pytest.mark.parametrize(("name", "key"), _OLD_KEYS.items())
def test_environments_of_before_keep_their_keys(name: str, key: str) -> None:
    assert CATALOGUE[name].key == key


def test_an_environment_of_a_users_own_keeps_its_key() -> None:
    mine = Environment(
        *("mine", "container", "x", "docker", "perf:1", "host", ("a", "b"), ("SYS_NICE",), True)
    )
    assert mine.key == "7cadb26239cea2c4efd077560d1338be531b71b582720ffb0034580e78d95f4d"
    assert replace(mine, description="other words").key == mine.key


_CHANGES: dict[str, Any] = {
    **{"name": "b", "kind": "container", "engine": "docker", "image": "i", "network": "host"},
    **{"security_opt": ("x",), "cap_add": ("ALL",), "privileged": True, "runtime": "crun"},
    **{"cpuset_cpus": "0", "cpuset_mems": "0", "cpu_quota": 1.0, "memory_mib": 64},
    **{"accelerator": "tcg", "vcpus": 1, "emulator_cpus": "0", "hugepages": True},
    **{"disk_cache": "none", "disk_io": "native", "within": CATALOGUE["vm"], "server": CATALOGUE["vm"]},
    **{"cap_drop": ("ALL",), "no_new_privileges": True, "read_only": True, "tmpfs": ("/tmp",)},
    **{"userns": "host", "seccomp_profile": "{}"},
    "env": (("MALLOC_ARENA_MAX", "1"),),
}


def test_every_field_but_the_description_makes_another_environment() -> None:
    assert set(_CHANGES) == {field.name for field in fields(Environment)} - {"description"}
    stock = Environment("a", "vm")
    keys = {stock.key, *(replace(stock, **{name: value}).key for name, value in _CHANGES.items())}
    assert len(keys) == 1 + len(_CHANGES)


def test_variables_are_stored_by_name() -> None:
    one, other = (replace(environment("native"), env=(("A", value),)) for value in "12")
    assert one.identity()["env"] == {"A": "1"}
    assert one.key != other.key


@pytest.mark.parametrize("place", ["within", "server"])
def test_nested_environments_count_by_what_they_are(place: str) -> None:
    def around(guest: Environment) -> str:
        nested: dict[str, Any] = {place: guest}
        return replace(environment("container"), **nested).key

    guest = environment("vm")
    assert around(guest) == around(replace(guest, description="in other words"))
    assert around(guest) != around(replace(guest, memory_mib=4096))
    assert around(guest) != around(replace(guest, cpuset_cpus="0-1"))
