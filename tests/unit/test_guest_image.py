"""The recipe of the guest image, as far as it needs no host: drivers, kernel, which images may go."""

from __future__ import annotations

import gzip
import lzma
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

_FILES = Path(__file__).resolve().parents[2] / "roles" / "perf_vm_image" / "files"
_RELEASE = "6.9.0-made-up"
_FAIL = 'fail() { echo "no guest image: $*" >&2; exit 1; }; '

_DEPENDENCIES = """\
drivers/net/net_failover.ko.xz: net/core/failover.ko.xz
drivers/net/virtio_net.ko.xz: drivers/net/net_failover.ko.xz drivers/virtio/virtio.ko.xz
drivers/virtio/virtio_pci.ko.xz: drivers/virtio/virtio_pci_modern_dev.ko.xz drivers/virtio/virtio.ko.xz
drivers/block/virtio_blk.ko.xz: drivers/virtio/virtio.ko.xz drivers/virtio/virtio_ring.ko.xz
drivers/virtio/virtio.ko.xz: drivers/virtio/virtio_ring.ko.xz
drivers/virtio/virtio_ring.ko.xz:
drivers/virtio/virtio_pci_modern_dev.ko.xz:
drivers/gpu/virtio-gpu.ko.xz: drivers/virtio/virtio.ko.xz
net/core/failover.ko.xz:
net/bridge/bridge.ko.xz: net/802/stp.ko.xz
net/802/stp.ko.xz:
"""


def _sh(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-euc", script, "test", *arguments],
        env={"PATH": os.environ["PATH"], "LC_ALL": "C", "FILES": str(_FILES), **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a made-up root file system with a kernel that a guest could boot."""
    modules = tmp_path / "root" / "lib" / "modules" / _RELEASE
    modules.mkdir(parents=True)
    (modules / "modules.dep").write_text(_DEPENDENCIES)
    (modules / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\nkernel/lib/libcrc32c.ko\n")
    (tmp_path / "root" / "boot").mkdir()
    (tmp_path / "root" / "boot" / f"vmlinuz-{_RELEASE}").write_text("a kernel")
    return tmp_path / "root"


# -- drivers, in the order of their dependencies -------------------------------------------------------


def _order(root: Path, wanted: str, also: str = "") -> subprocess.CompletedProcess[str]:
    modules = root / "lib" / "modules" / _RELEASE
    return _sh('. "$FILES/kernel.sh"; modules_in "$1" "$2" "$3"', str(modules), wanted, also)


def _names(listed: str) -> list[str]:
    return [Path(line).name.partition(".")[0] for line in listed.splitlines()]


def test_each_driver_comes_after_all_that_it_needs_and_only_once(root: Path) -> None:
    done = _order(root, "virtio_pci virtio_blk virtio_net")
    assert done.returncode == 0, done.stderr
    names = _names(done.stdout)
    assert len(names) == len(set(names))
    assert set(names) == {
        *("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk"),
        *("failover", "net_failover", "virtio_net"),
    }
    for line in _DEPENDENCIES.splitlines():
        module, _, needs = line.partition(":")
        if _names(module)[0] in names:
            assert all(
                names.index(_names(need)[0]) < names.index(_names(module)[0]) for need in needs.split()
            )


def test_what_is_built_in_needs_no_module(root: Path) -> None:
    assert _order(root, "ext4").stdout == ""


@pytest.mark.parametrize("name", ["virtio-gpu", "virtio_gpu"])
def test_a_dash_in_a_modules_name_is_an_underscore(root: Path, name: str) -> None:
    assert _names(_order(root, name).stdout)[-1] == "virtio-gpu"


def test_a_driver_that_the_kernel_lacks_is_named(root: Path) -> None:
    done = _order(root, "virtio_blk virtio_scsi")
    assert (done.returncode, done.stderr) == (1, "missing virtio_scsi\n")


def test_modules_are_taken_by_path_with_what_they_need(root: Path) -> None:
    assert _names(_order(root, "", "^net/bridge/").stdout) == ["stp", "bridge"]


@pytest.mark.parametrize("suffix", [".ko", ".ko.xz", ".ko.gz"])
def test_modules_are_unpacked_for_insmod(tmp_path: Path, suffix: str) -> None:
    content = b"\x7fELF and so on"
    packed = {".ko": content, ".ko.xz": lzma.compress(content), ".ko.gz": gzip.compress(content)}[suffix]
    (tmp_path / f"some{suffix}").write_bytes(packed)
    done = _sh(
        '. "$FILES/initramfs.sh"; unpack_module "$1" "$2"',
        str(tmp_path / f"some{suffix}"),
        str(tmp_path / "out"),
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_bytes() == content


# -- whose kernel --------------------------------------------------------------------------------------


def _choose(
    root: Path, folder: Path, *, kernel: str = "auto", package: str = "linux-of-the-distribution"
) -> list[str]:
    """Return source, reason, release, file and modules of the kernel; or what was said instead."""
    done = _sh(
        _FAIL + '. "$FILES/kernel.sh"; choose_kernel "$1" "$2"; printf "%s\\n" '
        '"$kernel_source" "$kernel_reason" "$kernel_release" "$kernel_file" "$kernel_modules"',
        str(root),
        _RELEASE,
        VM_DIR=str(folder),
        KERNEL=kernel,
        KERNEL_PACKAGE=package,
    )
    return done.stdout.splitlines() if done.returncode == 0 else [done.stderr.strip()]


@pytest.fixture
def downloaded(tmp_path: Path) -> Path:
    """Return a folder of guests in which the distribution's kernel is unpacked already."""
    kernel = tmp_path / "vm" / "kernels" / "linux-of-the-distribution"
    (kernel / "boot").mkdir(parents=True)
    (kernel / "boot" / "vmlinuz-6.1.0-cloud").write_text("another kernel")
    (kernel / "lib" / "modules" / "6.1.0-cloud").mkdir(parents=True)
    return tmp_path / "vm"


def test_the_hosts_kernel_is_taken_where_it_can_be_read(root: Path, downloaded: Path) -> None:
    expected = ["host", "", _RELEASE, f"{root}/boot/vmlinuz-{_RELEASE}", f"{root}/lib/modules/{_RELEASE}"]
    assert _choose(root, downloaded) == expected
    assert _choose(root, downloaded, kernel="host") == expected


def test_a_kernel_beside_its_modules_is_found_too(root: Path, downloaded: Path) -> None:
    modules = root / "lib" / "modules" / _RELEASE
    (root / "boot" / f"vmlinuz-{_RELEASE}").rename(modules / "vmlinuz")
    assert _choose(root, downloaded)[3] == f"{modules}/vmlinuz"


def _lose_vmlinuz(root: Path) -> str:
    (root / "boot" / f"vmlinuz-{_RELEASE}").unlink()
    return f"there is no readable /boot/vmlinuz-{_RELEASE}"


def _lose_modules(root: Path) -> str:
    (root / "lib" / "modules" / _RELEASE / "modules.dep").unlink()
    return f"there is no readable /lib/modules/{_RELEASE}/modules.dep and modules.builtin"


def _lose_a_driver(root: Path) -> str:
    path = root / "lib" / "modules" / _RELEASE / "modules.dep"
    path.write_text("\n".join(line for line in _DEPENDENCIES.splitlines() if "virtio_blk" not in line) + "\n")
    return f"kernel {_RELEASE} of the host has no driver virtio_blk"


@pytest.mark.parametrize("lose", [_lose_vmlinuz, _lose_modules, _lose_a_driver])
def test_else_the_distributions_is_taken_and_it_is_said_why(
    root: Path, downloaded: Path, lose: object
) -> None:
    assert callable(lose)
    reason = lose(root)
    source, said, release, file, _ = _choose(root, downloaded)
    assert (source, said, release) == ("distribution", reason, "6.1.0-cloud")
    assert file == f"{downloaded}/kernels/linux-of-the-distribution/boot/vmlinuz-6.1.0-cloud"
    assert _choose(root, downloaded, kernel="host") == [f"no guest image: no kernel for guests: {reason}"]


_PROGRAMS = {
    "apt-cache": "",
    "apt-get": "touch kernel.deb",
    "dpkg-deb": 'mkdir -p "$3/$MODULES/6.12.9-cloud" "$3/boot"; echo kernel > "$3/boot/vmlinuz-6.12.9-cloud"',
    "depmod": 'for place in lib usr/lib; do touch "$2/$place/modules/$3/modules.dep"; done',
}
"""What stands for programs of the host: a package is downloaded, and has its modules in $MODULES."""


def _unpack(root: Path, folder: Path, modules: str) -> subprocess.CompletedProcess[str]:
    programs = folder / "bin"
    programs.mkdir()
    for name, script in _PROGRAMS.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    return _sh(
        _FAIL + '. "$FILES/kernel.sh"; choose_kernel "$1" "$2"; printf "%s\\n" "$kernel_reason" '
        '"$kernel_release" "$kernel_file" "$kernel_modules"; ls "$kernel_modules"',
        str(root),
        _RELEASE,
        VM_DIR=str(folder / "vm"),
        KERNEL="auto",
        KERNEL_PACKAGE="linux-image",
        MODULES=modules,
        PATH=f"{programs}:{os.environ['PATH']}",
    )


@pytest.mark.parametrize("modules", ["lib/modules", "usr/lib/modules"])
def test_a_package_may_keep_its_modules_in_lib_or_in_usr_lib(
    root: Path, tmp_path: Path, modules: str
) -> None:
    reason = _lose_vmlinuz(root)
    done = _unpack(root, tmp_path, modules)
    folder = tmp_path / "vm" / "kernels" / "linux-image"
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "unpacked the kernel of linux-image",
        reason,
        "6.12.9-cloud",
        f"{folder}/boot/vmlinuz-6.12.9-cloud",
        f"{folder}/lib/modules/6.12.9-cloud",
        "modules.dep",
    ]


def test_a_package_without_a_kernel_is_named(root: Path, tmp_path: Path) -> None:
    _lose_vmlinuz(root)
    done = _unpack(root, tmp_path, "usr/share/doc")
    assert (done.returncode, done.stderr) == (1, "no guest image: linux-image holds no kernel\n")


def test_no_kernel_at_all_is_refused_with_the_reason(root: Path, downloaded: Path) -> None:
    reason = _lose_vmlinuz(root)
    assert _choose(root, downloaded, package="") == [
        f"no guest image: no kernel for guests: {reason}, and perf_vm_image_kernel_package is empty"
    ]


# -- which images may be removed -----------------------------------------------------------------------

_KEYS = [letter * 64 for letter in "abcd"]
"""From old to new."""


def _old(folder: Path, *, key: str, keep: int = 2) -> set[str]:
    done = _sh('. "$FILES/old.sh"; old_images', VM_DIR=str(folder), KEEP=str(keep), key=key)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def _guest(folder: Path, name: str, content: bytes) -> None:
    (folder / "guests" / name).mkdir(parents=True)
    (folder / "guests" / name / "root.qcow2").write_bytes(content)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Return a folder with four images, and one that was not finished."""
    for age, name in enumerate(_KEYS):
        (tmp_path / "images" / name).mkdir(parents=True)
        manifest = tmp_path / "images" / name / "manifest.json"
        manifest.write_text("{}")
        os.utime(manifest, (1_000_000 + age, 1_000_000 + age))
    (tmp_path / "images" / ("e" * 64)).mkdir()
    return tmp_path


def test_all_but_the_last_two_are_old(images: Path) -> None:
    assert _old(images, key=_KEYS[3]) == set(_KEYS[:2])


def test_the_one_in_use_stays(images: Path) -> None:
    assert _old(images, key=_KEYS[0], keep=1) == set(_KEYS[1:3])


def _header(*below: str) -> bytes:
    return b"QFI\xfb\x00\x00\x00\x03" + b"".join(b"\x00" * 8 + path.encode() for path in below)


def test_those_of_guests_stay(images: Path) -> None:
    _guest(images, "perfctl-one", _header(f"/srv/vm/images/{_KEYS[1]}/root.ext4"))
    assert _old(images, key=_KEYS[3]) == {_KEYS[0]}


@pytest.mark.parametrize("below", [[], ["/var/lib/perfctl/vm/image/root.ext4"]])
def test_a_guest_that_names_no_image_keeps_them_all(images: Path, below: Sequence[str]) -> None:
    _guest(images, "perfctl-two", _header(*below))
    assert _old(images, key=_KEYS[3]) == set()
