"""Any Ansible inventory as hosts, read by the real ansible-inventory."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from perfctl.errors import NoHostMatched, UsageError
from perfctl.inventory import load_hosts


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


@pytest.mark.parametrize(
    ("variable", "locale"),
    [("LC_ALL", "xx_YY.UTF-8"), ("LC_ALL", "POSIX"), ("LC_CTYPE", "de_DE.ISO-8859-1"), ("LANG", "xx_YY")],
)
def test_any_locale_is_good_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, locale: str
) -> None:
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, locale)
    source = write(tmp_path / "hosts.yml", "all: {hosts: {h1: {perf_resource: Gerät}}}")
    (host,) = load_hosts([source])
    assert host.resource == "Gerät"


# ---- sources -----------------------------------------------------------------------------------------------


def test_without_an_inventory_there_is_this_machine() -> None:
    (host,) = load_hosts()
    assert (host.name, host.connection, host.network_address) == ("localhost", "local", "127.0.0.1")


def test_an_ini_file_with_group_vars_beside_it(tmp_path: Path) -> None:
    source = write(
        tmp_path / "fleet" / "hosts.ini",
        "[db]\nd2 ansible_host=10.0.0.2\nd1 ansible_host=10.0.0.1 perf_test_address=10.241.0.11/16\n"
        "[web]\nw[1:2] ansible_port=2222\n[all_of_it:children]\ndb\nweb\n[web:vars]\nansible_user=wanda\n",
    )
    write(tmp_path / "fleet" / "group_vars" / "db.yml", "perf_resource: rack-1\nansible_user: dan\n")
    write(tmp_path / "fleet" / "host_vars" / "w2.yml", "ansible_connection: local\n")
    hosts = {host.name: host for host in load_hosts([source])}
    assert list(hosts) == ["d2", "d1", "w1", "w2"]
    assert (hosts["d1"].address, hosts["d1"].test_address) == ("10.0.0.1", "10.241.0.11")
    assert (hosts["d1"].user, hosts["d1"].resource) == ("dan", "rack-1")
    assert hosts["d1"].groups == ("all_of_it", "db")
    assert (hosts["w1"].address, hosts["w1"].port, hosts["w1"].user) == ("w1", 2222, "wanda")
    assert hosts["w2"].connection == "local"


def test_several_sources_a_directory_and_a_plugin(tmp_path: Path) -> None:
    folder = tmp_path / "fleet"
    write(folder / "10-static.yml", "all:\n  hosts:\n    h1: {role: client}\n    h2: {role: server}\n")
    write(
        folder / "20-groups.yml",
        "plugin: ansible.builtin.constructed\nstrict: true\ngroups:\n  clients: role == 'client'\n",
    )
    script = write(
        tmp_path / "dynamic.sh",
        "#!/bin/sh\n"
        'echo \'{"dyn": {"hosts": ["h3"]}, "_meta": {"hostvars": {"h3": {"ansible_host": "10.3.3.3"}}}}\'\n',
        0o755,
    )
    hosts = {host.name: host for host in load_hosts([str(folder), script])}
    assert set(hosts) == {"h1", "h2", "h3"}
    assert hosts["h1"].groups == ("clients",)
    assert (hosts["h3"].address, hosts["h3"].groups) == ("10.3.3.3", ("dyn",))


def test_limit_takes_ansibles_patterns(tmp_path: Path) -> None:
    source = write(tmp_path / "hosts", "[a]\nh1\nh2\n[b]\nh2\nh3\n")
    assert [host.name for host in load_hosts([source], limit="a:!b")] == ["h1"]
    assert [host.name for host in load_hosts([source], limit="h3,h1")] == ["h1", "h3"]


def test_an_unknown_name_in_limit_says_which_there_are(tmp_path: Path) -> None:
    source = write(tmp_path / "hosts", "[a]\nh1\n[b]\nh2\n")
    for limit in ("h9", "h1,h9"):
        with pytest.raises(NoHostMatched, match="h9 matches no host or group") as caught:
            load_hosts([source], limit=limit)
        assert caught.value.exit_code == 4
        assert caught.value.hint == "hosts: h1, h2; groups: a, b"


def test_a_limit_that_leaves_nobody(tmp_path: Path) -> None:
    source = write(tmp_path / "hosts", "[a]\nh1\n[b]\nh1\n")
    with pytest.raises(NoHostMatched, match="leaves no host"):
        load_hosts([source], limit="a:!b")


def test_an_empty_inventory_has_no_host(tmp_path: Path) -> None:
    with pytest.raises(NoHostMatched, match="has no hosts") as caught:
        load_hosts([write(tmp_path / "hosts", "[empty]\n")])
    assert "perfctl lab up" in str(caught.value.hint)


def test_a_broken_inventory_beside_a_good_one_is_told_in_ansibles_words(tmp_path: Path) -> None:
    good = write(tmp_path / "good.ini", "h2\n")
    with pytest.raises(UsageError, match=r"broken\.yml.*(?i:yaml|syntax|parse)") as caught:
        load_hosts([good, write(tmp_path / "broken.yml", "all:\n  hosts: [h1\n")])
    assert caught.value.exit_code == 2


def test_a_source_that_does_not_exist_is_told(tmp_path: Path) -> None:
    present = write(tmp_path / "present.ini", "h1\n")
    with pytest.raises(UsageError, match="absent: there is no such inventory") as caught:
        load_hosts([present, str(tmp_path / "absent")])
    assert caught.value.where == str(tmp_path / "absent")


# ---- vault -------------------------------------------------------------------------------------------------


def encrypt(folder: Path, text: str) -> str:
    """Return `text` as an encrypted variable `ansible_become_password`; the password is in folder/vault."""
    write(folder / "vault", "open sesame")
    argv = [
        str(Path(sys.executable).parent / "ansible-vault"), "encrypt_string", "--vault-password-file",
        str(folder / "vault"), text, "--name", "ansible_become_password",
    ]  # fmt: skip
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout


def test_an_encrypted_value_is_opened_with_the_password_and_never_kept(
    tmp_path: Path, cache_folder: Path
) -> None:
    source = write(tmp_path / "fleet" / "hosts", "h1 ansible_become=true\n")
    write(tmp_path / "fleet" / "host_vars" / "h1.yml", encrypt(tmp_path, "s3cret"))
    options = ["--tags", "tools", "--vault-password-file", str(tmp_path / "vault"), "--diff"]
    (host,) = load_hosts([source], passthrough=options)
    assert (host.become, host.become_password) == (True, "s3cret")
    assert "s3cret" not in repr(host)
    with pytest.raises(UsageError, match="cannot be opened") as caught:
        load_hosts([source])
    assert "--vault-password-file" in str(caught.value.hint)
    assert not cache_folder.exists()


# ---- the cached listing ------------------------------------------------------------------------------------


def test_an_answer_is_kept_until_something_changes(
    tmp_path: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "fleet" / "hosts", "h1\n")
    variables = tmp_path / "fleet" / "group_vars" / "all.yml"
    write(variables, "ansible_user: ann\n")
    first = load_hosts([source])
    (answer,) = cache_folder.iterdir()
    assert stat.S_IMODE(answer.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache_folder.stat().st_mode) == 0o700

    # The second time no program of Ansible's is started.
    with monkeypatch.context() as patched:
        patched.setattr(
            subprocess, "run", lambda *args, **kwargs: pytest.fail("ansible-inventory was asked again")
        )
        assert load_hosts([source]) == first

    write(variables, "ansible_user: bob\n")
    assert [host.user for host in load_hosts([source])] == ["bob"]
    write(tmp_path / "fleet" / "host_vars" / "h1.yml", "ansible_user: eve\n")
    assert [host.user for host in load_hosts([source])] == ["eve"]
    write(tmp_path / "fleet" / "hosts", "h1\nh2\n")
    assert len(load_hosts([source])) == 2


def test_an_answer_with_a_password_is_never_kept(tmp_path: Path, cache_folder: Path) -> None:
    load_hosts([write(tmp_path / "secret.ini", "h1\n[all:vars]\nansible_password=hunter2\n")])
    assert not cache_folder.exists()


def test_a_spoilt_answer_is_asked_for_again(tmp_path: Path, cache_folder: Path) -> None:
    source = write(tmp_path / "hosts", "h1\n")
    load_hosts([source])
    (answer,) = cache_folder.iterdir()
    answer.write_text("{")
    assert [host.name for host in load_hosts([source])] == ["h1"]


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", write(tmp_path / "a-file", ""))
    assert [host.name for host in load_hosts([write(tmp_path / "hosts", "h1\n")])] == ["h1"]


# ---- templates ---------------------------------------------------------------------------------------------


def test_the_folder_of_the_inventory_is_known(tmp_path: Path) -> None:
    source = write(
        tmp_path / "fleet" / "hosts.yml",
        "all:\n  hosts:\n    h1:\n      ansible_ssh_private_key_file: '{{ inventory_dir }}/../keys/id'\n",
    )
    (host,) = load_hosts([source])
    assert host.private_key == tmp_path / "fleet" / ".." / "keys" / "id"
