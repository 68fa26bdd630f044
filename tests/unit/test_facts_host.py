"""Single values out of a host's facts: those that are there, and those that are missing or make no sense."""

from __future__ import annotations

import pytest

from perfctl.facts.host import (
    is_on_local_disk,
    largest_cache_bytes,
    mtu_bytes,
    online_cpus,
    route_interface,
    storage_folders,
)
from perfctl.model import Fact, FactState, Fingerprint
from tests.captured_facts import fingerprint_of


def facts(name: str, text: str | None) -> Fingerprint:
    state = FactState.MISSING if text is None else FactState.PRESENT
    return Fingerprint((Fact(name, state, text or ""),))


@pytest.mark.parametrize(
    ("text", "cpus"), [("0-3", 4), ("0", 1), ("0-1,8-9", 4), ("", None), ("x", None), (None, None)]
)
def test_cpus_that_are_online(text, cpus):
    assert online_cpus(facts("cpu.online", text)) == cpus


@pytest.mark.parametrize(
    ("text", "largest"),
    [
        ("index0=32K: 0-1\nindex3=32768K: 0-1", 32 << 20),
        ("index2=2M: 0", 2 << 20),
        ("index3=0K: 0-1", None),
        ("", None),
        (None, None),
    ],
)
def test_the_largest_cache(text, largest):
    assert largest_cache_bytes(facts("cpu.cache", text)) == largest


def test_the_interface_of_a_route():
    read = fingerprint_of("host-with-docker")
    assert route_interface(read, "10.77.0.12") == "eth1"
    assert route_interface(read, "10.77.0.13") is None
    missing = Fingerprint(
        (Fact("net.route.a", FactState.MISSING, ""), Fact("net.route.b", FactState.PRESENT, "x"))
    )
    assert route_interface(missing, "a") is None
    assert route_interface(missing, "b") is None


def test_an_mtu_is_that_of_the_interface():
    links = facts("net.links", "lo mtu=65536\neth0 mtu=9000 speed=-1 DRIVER=virtio_net\neth1 mtu=x")
    assert [mtu_bytes(links, name) for name in ("lo", "eth0", "eth1", "eth2")] == [65536, 9000, None, None]


@pytest.mark.parametrize(
    ("daemon_json", "dropins", "folders"),
    [
        (None, None, ("/var/lib/docker", "/x")),
        ("", None, ("/var/lib/docker", "/x")),
        ('{"data-root": "/srv/docker"}', None, ("/srv/docker", "/x")),
        ('{"data-root": 3}', None, ()),
        ("{", None, ()),
        ("[]", None, ()),
        (None, "a.conf: ExecStart=dockerd --data-root /y", ()),
    ],
)
def test_where_an_engine_keeps_its_files_is_what_it_was_told(daemon_json, dropins, folders):
    rows = (*facts("engine.daemon_json", daemon_json).facts, *facts("engine.dropins", dropins).facts)
    assert storage_folders(Fingerprint(rows), ("/var/lib/docker", "/x")) == folders


MOUNTS = (
    "/dev/sda2 / ext4 rw\n"
    "/dev/mapper/vg-data /srv/data xfs rw\n"
    "server:/x /srv/data/far nfs4 rw\n"
    "tank/home /home zfs rw"
)


@pytest.mark.parametrize(
    ("mounts", "directory", "is_on"),
    [
        (MOUNTS, "/var/tmp/perfctl-fileio", True),
        (MOUNTS, "/srv/data", True),
        (MOUNTS, "/srv/data/near/perfctl-fileio", True),
        (MOUNTS, "/srv/data/far/perfctl-fileio", False),
        (MOUNTS, "/srv/database", True),
        (MOUNTS, "/home/x", False),
        ("overlay / overlay rw", "/var/tmp", True),
        ("/dev/vda /var/lib/docker ext4 rw", "/var/tmp", False),
        ("host / 9p rw", "/var/tmp", False),
        ("tmpfs / ext4 rw", "/var/tmp", False),
        ("rubbish", "/var/tmp", False),
        ("", "/var/tmp", False),
        (None, "/var/tmp", False),
    ],
)
def test_a_directory_is_on_disks_by_the_mount_that_is_nearest(mounts, directory, is_on):
    listed = facts("storage.mounts", mounts)
    others = facts("storage.other_mounts", "devtmpfs /dev")
    assert is_on_local_disk(Fingerprint((*listed.facts, *others.facts)), directory) is is_on
    assert not is_on_local_disk(listed, directory), "what else is mounted there was not read"
    assert not is_on_local_disk(Fingerprint(()), directory)


@pytest.mark.parametrize(
    ("other", "directory", "is_on"),
    [
        ("tmpfs /var/tmp", "/var/tmp/perfctl-fileio", False),
        ("tmpfs /var/tmp/perfctl-fileio", "/var/tmp/perfctl-fileio", False),
        ("fuse.sshfs /srv", "/srv/data/x", True),
        ("fuse.sshfs /srv/data/x", "/srv/data/x/y", False),
        ("lustre /scratch", "/scratch/me", False),
        ("ceph /mnt/my\\040ceph", "/mnt/my ceph/x", False),
        ("overlay /srv/live", "/srv/live", False),
        ("tmpfs /srv/data", "/srv/data/x", False),
        ("tmpfs /run", "/var/tmp", True),
        ("", "/var/tmp", True),
    ],
)
def test_a_file_system_that_is_not_listed_is_no_disk(other, directory, is_on):
    rows = (*facts("storage.mounts", MOUNTS).facts, *facts("storage.other_mounts", other).facts)
    assert is_on_local_disk(Fingerprint(rows), directory) is is_on


@pytest.mark.parametrize(
    "mount",
    [
        *("/dev/loop0 / ext4 rw", "/dev/ram0 / ext4 rw", "/dev/zram1 / ext4 rw"),
        *("/dev/pmem0 / xfs rw,dax", "/dev/vda / xfs rw,noatime,dax=always"),
    ],
)
def test_a_device_whose_bytes_no_disk_counts_is_no_disk(mount):
    rows = (*facts("storage.mounts", mount).facts, *facts("storage.other_mounts", "").facts)
    assert not is_on_local_disk(Fingerprint(rows), "/var/tmp")
