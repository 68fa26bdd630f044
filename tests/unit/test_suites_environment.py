"""Environments of a suite file: resources, guests, and environments that name each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from perfctl.environments import CATALOGUE
from perfctl.environments.catalogue import IMAGE, VM_MEMORY_MIB
from perfctl.environments.limits import parse_cpulist
from perfctl.errors import SuiteError
from perfctl.model import Environment
from perfctl.suites import load_suite

REST = '\n[suite]\nname = "x"\n[[benchmark]]\nname = "a"\nworkload = "sysbench"\n'


def read(folder: Path, text: str, *names: str) -> Sequence[Environment]:
    """Return the environments named, the baseline left out."""
    path = folder / "my.toml"
    path.write_text(text + REST)
    return load_suite(str(path), environments=["native", *names]).environments[1:]


def refusal(folder: Path, text: str) -> tuple[str, str, str]:
    """Return message, place (without the folder) and hint."""
    with pytest.raises(SuiteError) as caught:
        read(folder, text)
    assert caught.value.exit_code == 2
    where = str(caught.value.where).removeprefix(str(folder) + "/")
    return caught.value.message, where, str(caught.value.hint)


# --- what is understood -------------------------------------------------------------------------------------


def test_the_same_limits_in_every_kind(tmp_path: Path) -> None:
    limits = 'cpuset_cpus = "0-1,3"\ncpuset_mems = "0"\nmemory_mib = 512\n'
    text = "".join(f'[environments.my-{kind}]\nkind = "{kind}"\n{limits}' for kind in ("native", "vm"))
    text += f'[environments.my-container]\nkind = "container"\n{limits}cpu_quota = 2\n'
    native, container, vm = read(tmp_path, text, "my-native", "my-container", "my-vm")
    assert native == Environment("my-native", "native", cpuset_cpus="0-1,3", cpuset_mems="0", memory_mib=512)
    assert (container.cpuset_cpus, container.cpuset_mems, container.memory_mib) == ("0-1,3", "0", 512)
    assert (container.cpu_quota, type(container.cpu_quota)) == (2.0, float)
    assert (vm.cpuset_cpus, vm.cpuset_mems, vm.memory_mib, vm.vcpus) == ("0-1,3", "0", 512, 3)


def test_a_guest_with_everything(tmp_path: Path) -> None:
    text = """
        [environments.fast]
        kind = "vm"
        description = "All of it"
        accelerator = "tcg"
        vcpus = 2
        memory_mib = 64
        cpuset_cpus = "2,1"
        emulator_cpus = "0"
        hugepages = true
        disk_cache = "none"
        disk_io = "native"
    """
    assert read(tmp_path, text, "fast") == (
        Environment(
            "fast",
            "vm",
            "All of it",
            accelerator="tcg",
            vcpus=2,
            memory_mib=64,
            cpuset_cpus="2,1",
            emulator_cpus="0",
            hugepages=True,
            disk_cache="none",
            disk_io="native",
        ),
    )


def test_a_guest_that_says_nothing_is_as_the_built_in_one(tmp_path: Path) -> None:
    (guest,) = read(tmp_path, '[environments.g]\nkind = "vm"\n', "g")
    assert (guest.vcpus, guest.memory_mib) == (None, VM_MEMORY_MIB)
    assert guest.identity() == {**CATALOGUE["vm"].identity(), "name": "g"}
    assert (guest.image, guest.network, guest.engine) == (None, None, None)


def test_environments_name_each_other_in_any_order(tmp_path: Path) -> None:
    text = """
        [environments.client]
        kind = "native"
        server = "inner"
        [environments.inner]
        kind = "container"
        within = "guest"
        memory_mib = 100
        [environments.guest]
        kind = "vm"
        memory_mib = 128
        [environments.stock]
        kind = "container"
        within = "vm"
        server = "container-in-vm"
    """
    client, inner, guest, stock = read(tmp_path, text, "client", "inner", "guest", "stock")
    assert client.server == inner
    assert inner.within == guest == inner.outermost
    assert inner.image == IMAGE
    assert (stock.within, stock.server) == (CATALOGUE["vm"], CATALOGUE["container-in-vm"])


@pytest.mark.parametrize("kind", ["native", "container", "vm"])
def test_variables_in_every_kind(tmp_path: Path, kind: str) -> None:
    table = f'[environments.tuned]\nkind = "{kind}"\n'
    text = table + 'env = { OMP_NUM_THREADS = "2", GLIBC_TUNABLES = "glibc.malloc.arena_max=1" }\n'
    (tuned,) = read(tmp_path, text, "tuned")
    assert tuned.env == (("GLIBC_TUNABLES", "glibc.malloc.arena_max=1"), ("OMP_NUM_THREADS", "2"))
    other_order = table + '[environments.tuned.env]\nGLIBC_TUNABLES = "glibc.malloc.arena_max=1"\n'
    (same,) = read(tmp_path, other_order + 'OMP_NUM_THREADS = "2"\n', "tuned")
    assert same.key == tuned.key
    (none,) = read(tmp_path, table + "env = {}\n", "tuned")
    assert none.env == ()


def test_a_runtime_of_a_container(tmp_path: Path) -> None:
    text = '[environments.sandbox]\nkind = "container"\nruntime = "io.containerd.runsc.v1"\n'
    (sandbox,) = read(tmp_path, text, "sandbox")
    assert (sandbox.runtime, sandbox.engine) == ("io.containerd.runsc.v1", "docker")


def test_one_server_for_two_clients(tmp_path: Path) -> None:
    clients = "".join(f'[environments.c{n}]\nkind = "vm"\nserver = "s"\n' for n in (1, 2))
    one, two = read(tmp_path, clients + '[environments.s]\nkind = "native"\n', "c1", "c2")
    assert one.server == two.server == Environment("s", "native")


@pytest.mark.parametrize(
    ("text", "cpus"), [("0", (0,)), ("0-3,8", (0, 1, 2, 3, 8)), ("3,1", (3, 1)), ("2-2", (2,))]
)
def test_cpulists(text: str, cpus: tuple[int, ...]) -> None:
    assert parse_cpulist(text) == cpus


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "message", "hint"),
    [
        # what a kind cannot have
        ('kind = "native"\nimage = "z"', "a native environment has no image", 'kind = "container"?'),
        ('kind = "native"\nruntime = "crun"', "a native environment has no runtime", 'kind = "container"?'),
        ('kind = "vm"\nruntime = "crun"', "a vm environment has no runtime", 'within = "vm"'),
        ('kind = "container"\nruntime = "/usr/bin/crun"', "must be letters, digits", ""),
        ('kind = "vm"\nenv = ["A=1"]', "must be a table", ""),
        ('kind = "vm"\nenv = { A = 1 }', "must have texts, and A is none", 'A = "1"'),
        ('kind = "vm"\nenv = { "A B" = "1" }', "names 'A B': letters, digits and '_'", ""),
        ('kind = "native"\nenv = { PERFCTL_X = "1" }', "are perfctl's own", ""),
        ('kind = "native"\nenv = { A = "x\\u0000" }', "with a NUL character", ""),
        ('kind = "native"\nvcpus = 1', "a native environment has no vcpus", 'kind = "vm"?'),
        ('kind = "native"\nwithin = "vm"', "a native environment has no within", "name the vm itself"),
        ('kind = "container"\nvcpus = 1', "a container environment has no vcpus", 'kind = "vm"?'),
        ('kind = "container"\naccelerator = "kvm"', "a container environment has no acc", 'kind = "vm"?'),
        (
            'kind = "vm"\nsecurity_opt = ["seccomp=unconfined"]',
            "a vm environment has no security_opt",
            'kind = "container", within = "vm"',
        ),
        ('kind = "vm"\nprivileged = true', "a vm environment has no privileged", 'within = "vm"'),
        ('kind = "vm"\nimage = "z"', "a vm environment has no image", "perfctl provision made"),
        ('kind = "vm"\nnetwork = "host"', "a vm environment has no network", "test network's bridge"),
        ('kind = "vm"\nwithin = "vm"', "a vm environment has no within", "not supported"),
        ('kind = "vm"\ncpu_quota = 1.5', "a vm environment has no cpu_quota", "fewer vcpus"),
        # values
        ('kind = "native"\ncpuset_cpus = "0-"', "cpuset_cpus = '0-': it must be numbers and", '"0-3,8"'),
        ('kind = "native"\ncpuset_cpus = ""', "must be numbers and ranges", '"0-3,8"'),
        ('kind = "native"\ncpuset_cpus = "0, 1"', "must be numbers and ranges", '"0-3,8"'),
        ('kind = "native"\ncpuset_cpus = "-1"', "must be numbers and ranges", '"0-3,8"'),
        ('kind = "native"\ncpuset_cpus = "all"', "not 'all'", '"0-3,8"'),
        ('kind = "native"\ncpuset_cpus = "3-1"', "a range that goes backwards: 3-1", ""),
        ('kind = "native"\ncpuset_cpus = "0-2,1"', "names something twice", ""),
        ('kind = "native"\ncpuset_cpus = "0-99999"', "must not go beyond 8191", ""),
        ('kind = "native"\ncpuset_cpus = 0', "cpuset_cpus = 0: it must be a text", ""),
        (
            'kind = "container"\ncpuset_mems = "a"',
            "cpuset_mems = 'a': it must be numbers",
            'cpuset_mems = "0',
        ),
        ('kind = "container"\ncpus = 1', "wrong key 'cpus'", "cpu_quota = 1"),
        ('kind = "container"\nmemory = "1g"', "wrong key 'memory'", "memory_mib"),
        ('kind = "vm"\nemulator_cpus = "0-"', "emulator_cpus = '0-': it must be", ""),
        ('kind = "native"\ncpu_quota = 0', "cpu_quota = 0: it must be above 0", "cpu_quota = 1.5"),
        ('kind = "native"\ncpu_quota = -1.5', "must be above 0", ""),
        ('kind = "native"\ncpu_quota = 0.005', "steps of 0.01", ""),
        ('kind = "native"\ncpu_quota = 1.005', "steps of 0.01", ""),
        ('kind = "native"\ncpu_quota = nan', "must be above 0", ""),
        ('kind = "native"\ncpu_quota = inf', "must be above 0", ""),
        ('kind = "native"\ncpu_quota = "150%"', "cpu_quota = '150%': it must be a number", ""),
        ('kind = "native"\ncpu_quota = true', "cpu_quota = True: it must be a number", ""),
        ('kind = "native"\nmemory_mib = 5', "memory_mib = 5: it must be at least 6", ""),
        ('kind = "container"\nmemory_mib = 0', "must be at least 6", ""),
        ('kind = "container"\nmemory_mib = "1g"', "must be a whole number", ""),
        ('kind = "vm"\nmemory_mib = 63', "memory_mib = 63: it must be at least 64", ""),
        ('kind = "vm"\nvcpus = 0', "vcpus = 0: it must be at least 1", ""),
        ('kind = "vm"\nvcpus = 2\ncpuset_cpus = "0-3"', "cpuset_cpus, which has 4", "vcpus = 4"),
        ('kind = "vm"\naccelerator = "hvf"', "must be one of 'kvm', 'tcg'", ""),
        ('kind = "vm"\nhugepages = "2M"', "must be true or false", ""),
        ('kind = "vm"\ndisk_cache = "no"', "must be one of 'none', 'writeback'", ""),
        ('kind = "vm"\ndisk_io = "aio"', "must be one of 'threads', 'native', 'io_uring'", ""),
        (
            'kind = "vm"\ndisk_io = "native"',
            "needs a disk that the host does not cache",
            'disk_cache = "none"',
        ),
        ('kind = "vm"\ndisk_io = "native"\ndisk_cache = "unsafe"', "does not cache", 'disk_cache = "none"'),
        # other environments
        ('kind = "container"\nwithin = 3', "within = 3: it must be a text", ""),
        (
            'kind = "container"\nwithin = "contianer"',
            "has no environment 'contianer'",
            "did you mean container",
        ),
        ('kind = "native"\nserver = "zzzz"', "has no environment 'zzzz' to name", "there are: native"),
        ('kind = "container"\nwithin = "container"', "must be a vm, not a container", 'within = "vm"'),
        ('kind = "container"\nwithin = "native"', "must be a vm, not a native", 'within = "vm"'),
        ('kind = "container"\nwithin = "vm-to-native"', "with a server of its own", 'server = "native"'),
        ('kind = "native"\nserver = "vm-to-native"', "whose own server is native", "without a server"),
        ('kind = "vm"\nserver = "y"', "leads back to itself: y -> y", "leave one of them out"),
        ('kind = "container"\nwithin = "y"', "leads back to itself: y -> y", ""),
        # what a program would take for an option, or cannot take
        ('kind = "container"\nimage = "--privileged"', "begin with '-'", ""),
        ('kind = "container"\nimage = " -v=/:/host"', "begin with '-'", ""),
        ('kind = "container"\nimage = ""', "must not be empty", ""),
        ('kind = "container"\nimage = "a\\nb"', "control characters", ""),
        ('kind = "container"\nruntime = "-x"', "a letter or digit first", ""),
        ('kind = "container"\nsecurity_opt = ["--privileged"]', "begin with '-'", ""),
        ('kind = "container"\ncap_add = ["-v"]', "begin with '-'", ""),
        # a container that is larger than its guest
        (
            'kind = "container"\nwithin = "vm"\ncpuset_cpus = "1"',
            "vm has 1 vCPU (where it is emulated) and 2048 MiB",
            "counts what",
        ),
        ('kind = "container"\nwithin = "vm"\ncpu_quota = 1.5', "goes beyond the guest", ""),
        ('kind = "container"\nwithin = "vm"\nmemory_mib = 2048', "goes beyond the guest", ""),
    ],
)
def test_refused(tmp_path: Path, lines: str, message: str, hint: str) -> None:
    found = refusal(tmp_path, f"[environments.y]\n{lines}\n")
    assert message in found[0]
    assert found[1] == "my.toml: [environments.y]"
    assert hint in found[2]


@pytest.mark.parametrize(
    ("guest", "quota", "size"),
    [
        ("vcpus = 4", 4.5, "g has 4 vCPUs and 2048 MiB"),
        ('accelerator = "kvm"', 2.5, "g has 2 vCPUs and 2048 MiB"),
        ('accelerator = "tcg"', 1.5, "g has 1 vCPU and 2048 MiB"),
        ("vcpus = 1", 1.5, "g has 1 vCPU and 2048 MiB"),
    ],
)
def test_a_container_fits_into_what_its_guest_says_or_has_by_default(
    tmp_path: Path, guest: str, quota: float, size: str
) -> None:
    text = f'[environments.g]\nkind = "vm"\n{guest}\n[environments.c]\nkind = "container"\nwithin = "g"\n'
    assert size in refusal(tmp_path, f"{text}cpu_quota = {quota}\n")[0]
    (container,) = read(tmp_path, f"{text}cpu_quota = {quota - 0.5}\n", "c")
    assert container.cpu_quota == quota - 0.5


def test_a_circle_is_shown(tmp_path: Path) -> None:
    text = """
        [environments.a]
        kind = "native"
        server = "b"
        [environments.b]
        kind = "container"
        within = "c"
        [environments.c]
        kind = "vm"
        server = "b"
    """
    message, where, _ = refusal(tmp_path, text)
    assert message == "server = 'b': it leads back to itself: b -> c -> b"
    assert where == "my.toml: [environments.c]"


def test_what_is_wrong_in_an_environment_that_another_names_is_said_of_itself(tmp_path: Path) -> None:
    text = '[environments.a]\nkind = "container"\nwithin = "b"\n[environments.b]\nkind = "vm"\nvcpus = 0\n'
    assert refusal(tmp_path, text)[1] == "my.toml: [environments.b]"


# --- the built-in suite of equal resources ------------------------------------------------------------------


def test_parity_gives_all_three_kinds_the_same_and_fits_two_cpus() -> None:
    suite = load_suite("parity")
    assert [each.kind for each in suite.environments] == ["native", "container", "vm"]
    assert suite.environments[0].name == suite.baseline
    assert len({(each.cpuset_cpus, each.memory_mib) for each in suite.environments}) == 1
    for each in suite.environments:
        assert max(parse_cpulist(str(each.cpuset_cpus))) < 2
    assert suite.environments[2].vcpus == 1
