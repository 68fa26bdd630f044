"""An inventory's variables as hosts, their templates, and what may be kept; Ansible itself is not asked."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from perfctl.errors import UsageError
from perfctl.inventory import cache
from perfctl.inventory.hosts import hosts_in, parse_ssh_arguments
from perfctl.inventory.template import Resolver
from perfctl.inventory.vault import Vault
from perfctl.model import Host


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of cached listings, this test's own; the caller's own settings do not count."""
    for name in [name for name in os.environ if name.startswith("ANSIBLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ANSIBLE_CONFIG", str(tmp_path / "ansible.cfg"))
    (tmp_path / "ansible.cfg").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "perfctl" / "inventory"


def write(path: Path, text: str, mode: int = 0o644) -> str:
    """Write a file and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def hosts_of(
    variables: Mapping[str, Mapping[str, Any]], groups: Mapping[str, list[str]] | None = None
) -> list[Host]:
    """Return the hosts of a listing, without asking ansible-inventory."""
    listing: dict[str, Any] = {
        "_meta": {"hostvars": variables},
        "all": {"children": ["ungrouped", *(groups or {})]},
    }
    listing |= {name: {"hosts": hosts} for name, hosts in (groups or {}).items()}
    return hosts_in(listing, Resolver(("/fleet/hosts.yml",), Vault(())))


def host_of(**variables: Any) -> Host:
    """Return the one host with these variables."""
    return hosts_of({"h1": variables})[0]


# ---- the cached listing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "mode"),
    [
        ("plugin.yml", "plugin: ansible.builtin.constructed\nstrict: false\n", 0o644),
        ("script.sh", "#!/bin/sh\necho '{}'\n", 0o755),
        ("vaulted.yml", "$ANSIBLE_VAULT;1.1;AES256\n6162\n", 0o644),
        ("value.yml", "all:\n  vars:\n    x: !vault |\n      abc\n", 0o644),
        ("notes.md", "who knows what reads this", 0o644),
    ],
)
def test_what_is_dynamic_or_encrypted_is_never_kept(tmp_path: Path, name: str, text: str, mode: int) -> None:
    sources = [write(tmp_path / "hosts", "h1\n"), write(tmp_path / name, text, mode)]
    assert cache.key_for("ansible-inventory", [], sources[:1]) is not None
    assert cache.key_for("ansible-inventory", [], sources) is None


@pytest.mark.parametrize(
    "listing",
    [
        {"h1": {"ansible_password": "x"}},
        {"h1": {"ansible_become_pass": "x"}},
        {"h1": {"store": {"api_token": "x"}}},
        {"h1": {"logins": [{"client_secret": "x"}]}},
    ],
)
def test_a_name_like_a_secrets_is_seen_at_any_depth(listing: dict[str, Any]) -> None:
    assert cache.has_secret({"_meta": {"hostvars": listing}})
    assert not cache.has_secret({"_meta": {"hostvars": {"h1": {"ansible_user": "password"}}}})


def test_plugins_named_in_the_settings_are_not_trusted(tmp_path: Path) -> None:
    source = write(tmp_path / "hosts", "h1\n")
    assert cache.key_for("ansible-inventory", [], [source])
    write(tmp_path / "ansible.cfg", "[defaults]\nvars_plugins_enabled = host_group_vars\n")
    assert cache.key_for("ansible-inventory", [], [source]) is None


# ---- variables of a host -----------------------------------------------------------------------------------


def test_a_host_without_variables_is_reached_by_its_name() -> None:
    host = host_of()
    assert (host.address, host.connection, host.port, host.user) == ("h1", "ssh", 22, None)
    assert host.network_address == "h1" and not host.become


def test_everything_that_reaches_a_host_is_mapped() -> None:
    host = host_of(
        ansible_host="10.0.0.1",
        ansible_port="2222",
        ansible_user="ann",
        ansible_ssh_private_key_file="~/.ssh/fleet",
        ansible_ssh_common_args='-F /etc/fleet -o "ProxyCommand=nc %h %p" -J hop',
        ansible_ssh_extra_args="-o StrictHostKeyChecking=accept-new -C -4",
        ansible_ssh_args="-o ControlMaster=auto -o ControlPersist=60s",
        ansible_become="yes",
        ansible_become_pass="pw",
        perf_test_address="fd00::11/64",
        perf_resource="rack-1",
        anything="else",
    )
    assert (host.address, host.port, host.user) == ("10.0.0.1", 2222, "ann")
    assert host.private_key == Path.home() / ".ssh" / "fleet"
    assert host.ssh_options == (
        ("ConfigFile", "/etc/fleet"),
        ("ProxyCommand", "nc %h %p"),
        ("ProxyJump", "hop"),
        ("StrictHostKeyChecking", "accept-new"),
        ("AddressFamily", "inet"),
    )
    assert (host.become, host.become_password) == (True, "pw")
    assert (host.test_address, host.network_address, host.resource) == ("fd00::11", "fd00::11", "rack-1")
    assert host.variables["anything"] == "else"


@pytest.mark.parametrize(
    ("named", "python"),
    [
        (None, "python3"),
        ("auto_silent", "python3"),
        ("/opt/python/bin/python3", "/opt/python/bin/python3"),
        ("{{ ansible_playbook_python }}", sys.executable),
        ("{{ discovered | from_json }}", "python3"),
    ],
)
def test_the_interpreter_is_the_inventorys(named: str | None, python: str) -> None:
    assert host_of(**({} if named is None else {"ansible_python_interpreter": named})).python == python


def test_the_state_folder_holds_the_spools() -> None:
    assert host_of().spool_root is None
    assert host_of(perf_state_dir="/srv/perfctl/").spool_root == "/srv/perfctl/spool"


def test_hosts_keep_the_inventorys_order_and_their_groups() -> None:
    hosts = hosts_of({"a": {}, "b": {}, "c": {}}, {"second": ["c", "a"], "first": ["a"]})
    assert [host.name for host in hosts] == ["c", "a", "b"]
    assert hosts[1].groups == ("first", "second")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"ansible_connection": "docker"}, "ansible_connection is docker"),
        ({"ansible_port": "ssh"}, "ansible_port is 'ssh'"),
        ({"ansible_ssh_private_key_file": "~no-such-user/key"}, "ansible_ssh_private_key_file is .*no home"),
        ({"ansible_port": 70000}, "no port"),
        ({"ansible_port": float("inf")}, "no port"),
        ({"perf_test_address": "ten"}, "perf_test_address is 'ten'"),
        ({"perf_state_dir": "state"}, "perf_state_dir is 'state'"),
        ({"ansible_become": True, "ansible_become_method": "su"}, "by sudo only"),
        ({"ansible_become": True, "ansible_become_user": "ann"}, "root only"),
        ({"ansible_ssh_common_args": "-o 'unclosed"}, "cannot be read"),
        ({"ansible_ssh_common_args": "-W x:1"}, "does not know the ssh option -W"),
        ({"ansible_ssh_common_args": "word"}, "no ssh option"),
        ({"ansible_ssh_extra_args": "-o Lonely"}, "Key=value"),
    ],
)
def test_a_value_that_makes_no_sense_names_host_and_variable(variables: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        host_of(**variables)
    assert str(caught.value.where).startswith("h1")


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", []),
        ("-oA=b -o C=d", [("A", "b"), ("C", "d")]),
        ("-o 'A b c'", [("A", "b c")]),
        ("-o 'A = b'", [("A", "b")]),
        ("-p 22 -l ann -i key", [("Port", "22"), ("User", "ann"), ("IdentityFile", "key")]),
        ("-vvv -AC -q", []),
    ],
)
def test_ssh_arguments_are_read_as_ssh_reads_them(text: str, pairs: list[tuple[str, str]]) -> None:
    assert parse_ssh_arguments(text, "h1") == pairs


# ---- templates ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ other }}", "10.9.9.9"),
        ("{{other}}", "10.9.9.9"),
        ("pre-{{ other }}-post", "pre-10.9.9.9-post"),
        ("{{ inventory_hostname }}.lan", "h1.lan"),
        ("{{ net.mgmt.address }}", "10.1.1.1"),
        ("{{ net['mgmt']['address'] }}", "10.1.1.1"),
        ("{{ nets[1] }}", "b"),
        ("{{ absent | default('10.2.2.2') }}", "10.2.2.2"),
        ("{{ absent|d('x', true) }}", "x"),
        ("{{ other | default('unused') }}", "10.9.9.9"),
        ("{{ chain }}", "10.9.9.9"),
        ("{{ lookup('env', 'PERFCTL_TEST_ADDRESS') }}", "10.3.3.3"),
        ('{{ lookup("ansible.builtin.env", "PERFCTL_TEST_ADDRESS") }}', "10.3.3.3"),
        ("no template", "no template"),
    ],
)
def test_simple_templates_are_resolved(template: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERFCTL_TEST_ADDRESS", "10.3.3.3")
    others = {
        "other": "10.9.9.9",
        "chain": "{{ other }}",
        "net": {"mgmt": {"address": "10.1.1.1"}},
        "nets": ["a", "b"],
    }
    assert host_of(ansible_host=template, **others).address == value


def test_a_whole_template_keeps_its_type() -> None:
    assert host_of(ansible_port="{{ port }}", port=2200).port == 2200
    assert host_of(ansible_port="{{ port | default(2201) }}").port == 2201
    assert host_of(ansible_become="{{ root }}", root=False).become is False


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ groups['db'][0] | upper }}", "cannot resolve the template"),
        ("{% if x %}a{% endif %}", "cannot resolve the template"),
        ("{{ absent }}", "there is no variable absent"),
        ("{{ net.absent }}", r"there is no variable net\.absent"),
        ("{{ ansible_host }}", "refers to itself"),
    ],
)
def test_a_template_that_is_too_clever_is_told(template: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        host_of(ansible_host=template, net={})
    assert caught.value.where == "h1: ansible_host"


def test_a_template_nobody_needs_does_no_harm() -> None:
    assert host_of(unused="{{ groups['db'] | map('upper') }}").address == "h1"
