"""What is read from the machine: apt's archives, name servers, routes."""

from ipaddress import IPv4Network

import pytest

from perfctl.lab.machine import read_cgroup2_mount, read_index_targets, read_name_servers, read_routes

TARGETS = """\
|nodistro|main|https://packages.example.org/node/
Debian|bookworm|main|http://mirror.example.org/debian/
Debian|bookworm|non-free|http://mirror.example.org/debian/
Debian|bookworm-updates|main|http://mirror.example.org/debian/
Debian|bookworm-security|main|http://mirror.example.org/debian-security/
Debian|bookworm-backports|main|http://mirror.example.org/debian/
Debian|trixie|main|cdrom://disk/
Vendor|bookworm|main|https://vendor.example.org/apt/
"""

ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""


def test_only_debian_main_of_the_own_release_with_its_updates():
    archive = read_index_targets(TARGETS)
    assert archive is not None
    assert archive.suite == "bookworm"
    assert archive.sources == (
        "deb http://mirror.example.org/debian/ bookworm main",
        "deb http://mirror.example.org/debian/ bookworm-updates main",
        "deb http://mirror.example.org/debian-security/ bookworm-security main",
    )


def test_another_release_is_in_the_same_place():
    archive = read_index_targets(TARGETS)
    assert archive is not None
    other = archive.of("trixie")
    assert other.suite == "trixie"
    assert other.sources == (
        "deb http://mirror.example.org/debian/ trixie main",
        "deb http://mirror.example.org/debian/ trixie-updates main",
        "deb http://mirror.example.org/debian-security/ trixie-security main",
    )
    assert archive.of("bookworm") == archive


def test_only_the_suite_of_a_source_is_another():
    archive = read_index_targets("Debian|bookworm|main|http://bookworm.example.org/bookworm/\n")
    assert archive is not None
    assert archive.of("trixie").sources == ("deb http://bookworm.example.org/bookworm/ trixie main",)


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        ("cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n", "/sys/fs/cgroup"),
        (
            "tmpfs /sys/fs/cgroup tmpfs ro 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"
            "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n",
            "/sys/fs/cgroup/unified",
        ),
        ("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup2 /tmp/elsewhere cgroup2 rw 0 0\n", None),
        ("", None),
    ],
)
def test_where_control_groups_of_version_2_are(mounts, expected):
    assert read_cgroup2_mount(mounts) == expected


def test_a_list_of_mirrors_gives_its_first_one(tmp_path):
    mirrors = tmp_path / "debian.list"
    mirrors.write_text(
        "# comment\nhttps://first.example.org/debian priority:1\nhttps://second.example.org/debian\n"
    )
    archive = read_index_targets(f"Debian|trixie|main|mirror+file:{mirrors}/\n")
    assert archive is not None
    assert archive.sources == ("deb https://first.example.org/debian trixie main",)


def test_a_machine_that_is_no_debian_has_no_archive():
    assert read_index_targets("Ubuntu|noble|main|http://mirror.example.org/ubuntu/\n") is None
    assert read_index_targets("") is None


def test_name_servers_that_containers_cannot_reach_are_left_out():
    text = (
        "# made by hand\nsearch example.org\nnameserver 127.0.0.53\nnameserver 192.0.2.53\nnameserver ::1\n"
    )
    assert read_name_servers(text) == ("192.0.2.53",)
    assert read_name_servers("nameserver fe80::1%eth0\nnameserver 2001:db8::53\n") == ("2001:db8::53",)
    assert read_name_servers("nameserver 127.0.0.1\n") == ()


def test_routes_without_the_default_one():
    assert list(read_routes(ROUTES)) == [
        ("docker0", IPv4Network("172.17.0.0/16")),
        ("eth0", IPv4Network("192.0.2.0/24")),
    ]
