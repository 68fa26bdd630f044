"""What is read from the machine: apt's archives, name servers, routes."""

from ipaddress import IPv4Network

from perfctl.lab.machine import read_index_targets, read_name_servers, read_routes

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
