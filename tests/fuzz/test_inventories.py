"""Any inventory gives hosts or an error that names the place; no template and no tag is carried out."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import strategies as st

from perfctl.errors import NoHostMatched, PerfctlError, UsageError
from perfctl.inventory import ansible_inventory, load_hosts
from perfctl.inventory.cache import Kept
from perfctl.inventory.hosts import hosts_in, parse_ssh_arguments
from perfctl.inventory.template import Resolver
from perfctl.inventory.vault import Vault
from perfctl.model import Host
from perfctl.plan import make_plan
from perfctl.suites import load_suite
from tests.fuzz.inputs import TOTAL, bounded, given, inputs
from tests.fuzz.mutation import JSON, TEXTS, mutated, mutated_json

VARIABLES = [
    *("ansible_host", "ansible_port", "ansible_user", "ansible_connection", "ansible_password"),
    *("ansible_become", "ansible_become_password", "ansible_become_method", "ansible_become_user"),
    *("ansible_ssh_private_key_file", "ansible_ssh_common_args", "ansible_ssh_extra_args"),
    *("ansible_ssh_args", "perf_test_address", "perf_resource", "perf_state_dir", "other"),
]
TEMPLATES = st.sampled_from(
    [
        *(
            "{{ other }}",
            "{{ other.x[0] }}",
            "{{ other['x'] | default('y') }}",
            "{{ ansible_host }}",
            "{{",
            "}}",
        ),
        *(
            "{{ other[''] }}",
            "{{ other.² }}",
            "{{ other[9999999999] }}",
            "{{ x | default(1) }}",
            "{%",
            "{{ a b }}",
        ),
        *(
            "{% if x %}",
            "{{ lookup('env', 'HOME') }}",
            "{{ lookup('pipe', 'touch EXECUTED') }}",
            "{{\nother\n}}",
        ),
        *(
            "fe80::1/64",
            "10.0.0.1/16",
            "22",
            "2_2",
            "yes",
            "sudo",
            "local",
            "ssh",
            "~/x",
            "~no-such-user/x",
            "~\0",
        ),
        *("-o A=b", "-J a,b", "-F x", "-p 1"),
    ]
)
VALUES = st.lists(TEMPLATES | st.text(max_size=8), max_size=3).map("".join) | JSON
HOST_NAMES = st.from_regex(r"\w[\w.:%@-]*", fullmatch=True) | TEXTS
"""Most of any text is no name for a host, and is refused before anything else is read."""

LISTING: dict[str, Any] = {
    "_meta": {
        "hostvars": {
            "h1": {
                "ansible_host": "192.0.2.1",
                "ansible_port": 22,
                "ansible_password": {"__ansible_unsafe": "pa{{ss}}word"},
                "ansible_ssh_common_args": "-o UserKnownHostsFile=/x -J gw",
                "net": {"address": "{{ ansible_host }}", "list": [1, {"deep": "x"}]},
                "perf_test_address": "10.241.0.11/16",
                "perf_resource": "{{ net.list[1].deep }}",
            },
            "h2": {
                "ansible_become": True,
                "ansible_become_password": "{{ secret }}",
                "secret": "s3cret-word",
            },
        }
    },
    "all": {"children": ["ungrouped", "fleet"]},
    "fleet": {"children": ["rack"]},
    "rack": {"hosts": ["h1", "h2"]},
    "ungrouped": {"hosts": ["h3"]},
}


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have listings cached in a folder of these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def is_planned(hosts: list[Host]) -> None:
    """Check hosts that were read, and that a plan is made of them or refused."""
    for host in hosts:
        assert 0 < host.port < 65536
        assert host.connection in ("ssh", "local")
        assert host.state_dir is None or host.state_dir == "" or host.state_dir.startswith("/")
    try:
        make_plan(load_suite("net", blocks=1), hosts, seed="1")
    except PerfctlError as error:
        assert error.where is not None


@inputs("inventories", 0.3)
@given(
    st.dictionaries(
        HOST_NAMES,
        st.dictionaries(st.sampled_from(VARIABLES), VALUES | TEMPLATES, max_size=6),
        min_size=1,
        max_size=3,
    )
)
def test_any_variables_give_hosts_or_a_usage_error(variables: dict[str, Any]) -> bool:
    listing = {"_meta": {"hostvars": variables}, "all": {"children": ["ungrouped"]}}
    try:
        hosts = hosts_in(listing, Resolver(("/fleet/hosts.yml",), Vault(())))
    except UsageError as error:
        assert error.where is not None
        return False
    assert [host.name for host in hosts] == list(variables)
    is_planned(hosts)
    return True


def loaded(stdout: str, stderr: str = "") -> list[Host]:
    """Return the hosts of what ansible-inventory printed; the program itself is not started."""
    with (
        mock.patch.object(ansible_inventory, "_run", return_value=Kept(stdout, stderr)),
        mock.patch.object(ansible_inventory, "find_program", return_value="ansible-inventory"),
    ):
        return load_hosts(("h1,",))


@inputs("inventories", 0.3)
@given(mutated_json(LISTING).map(json.dumps) | mutated(json.dumps(LISTING, indent=1)))
def test_anything_that_ansible_inventory_prints_gives_hosts_or_an_error(stdout: str) -> bool:
    try:
        hosts = loaded(stdout)
    except (UsageError, NoHostMatched) as error:
        assert error.where is not None
        return False
    is_planned(hosts)
    return True


@inputs("inventories", 0.15)
@given(
    st.lists(
        TEMPLATES | st.sampled_from(["-o", "-oA", "=", "'", '"', "\\", " ", "User x"]) | TEXTS, max_size=5
    ).map("".join)
)
def test_any_ssh_arguments_are_read_or_refused(text: str) -> bool:
    try:
        pairs = parse_ssh_arguments(text, "h1")
    except UsageError as error:
        assert error.where == "h1"
        return False
    assert all(key for key, _ in pairs)
    return True


# ---- through Ansible ---------------------------------------------------------------------------------------

_YAML = """all:
  vars:
    ansible_user: "{{ lookup('pipe', 'touch EXECUTED') }}"
    other: !unsafe "{{ x }}"
  hosts:
    h1: {ansible_host: 192.0.2.1, ansible_port: "{{ port }}", port: 22}
  children:
    rack:
      hosts:
        h[2:4]: {perf_resource: "{{ other }}"}
"""
_INI = """h1 ansible_host=192.0.2.1 ansible_user="{{ lookup('pipe', 'touch EXECUTED') }}"
[rack]
h[2:4] perf_resource=switch
[rack:vars]
ansible_ssh_common_args='-o User=x'
[fleet:children]
rack
"""


@inputs("inventories", 0.001)
@given(st.sampled_from([("hosts.yml", _YAML), ("hosts.ini", _INI)]), st.data())
def test_any_inventory_is_read_by_ansible_without_being_carried_out(
    named: tuple[str, str], data: st.DataObject
) -> bool:
    name, sample = named
    with tempfile.TemporaryDirectory() as folder:
        mark, source = Path(folder) / "executed", Path(folder) / name
        text = data.draw(mutated(sample)).replace("EXECUTED", str(mark))
        source.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            hosts = load_hosts((str(source),))
        except (UsageError, NoHostMatched) as error:
            assert error.where is not None
            hosts = []
        assert not mark.exists()
    return bool(hosts)


# ---- what grows --------------------------------------------------------------------------------------------


def host_of(**variables: Any) -> Host:
    """Return the one host with these variables."""
    (host,) = hosts_in(
        {"_meta": {"hostvars": {"h1": variables}}, "all": {}}, Resolver(("hosts.yml",), Vault(()))
    )
    return host


def test_templates_that_each_name_two_others_are_refused() -> None:
    levels = {f"v{number}": f"{{{{ v{number + 1} }}}}" * 2 for number in range(18)}
    with bounded(), pytest.raises(UsageError, match="more than 1,000 templates") as caught:
        host_of(ansible_user="{{ v0 }}", **levels, v18="")
    assert caught.value.where == "h1: ansible_user"
    assert host_of(ansible_user="{{ a }}" * 40, a="b").user == "b" * 40


@pytest.mark.parametrize(
    "text", ["{{" + " " * 50_000, "{{ a" * 50_000, "}}" + "{{ " * 50_000, "{{ a" + "." * 50_000 + " }}"]
)
def test_a_long_template_without_end_is_no_hang(text: str) -> None:
    with bounded():
        try:
            host_of(ansible_user=text)
        except UsageError as error:
            assert error.where is not None


def test_a_template_may_go_on_in_the_next_line() -> None:
    assert host_of(ansible_user="{{\n other\n}}", other="me").user == "me"
    assert host_of(ansible_user="x{{\n other\n}}y }} z", other="me").user == "xmey }} z"


@pytest.mark.parametrize("steps", ["['']", ".²", "[99999999999999999999]", "[" + "9" * 5000 + "]"])
def test_a_part_that_a_list_cannot_have_is_not_there(steps: str) -> None:
    with pytest.raises(UsageError, match="there is no variable") as caught:
        host_of(ansible_user="{{ other" + steps + " }}", other=["a"])
    assert caught.value.where == "h1: ansible_user"


@pytest.mark.parametrize("variable", ["ansible_user", "ansible_ssh_private_key_file"])
@pytest.mark.parametrize("text", ["~\0/x", "~\ud800/x", "{{ lookup('env', '\ud800') }}"])
def test_half_a_character_and_nul_are_refused_or_kept(variable: str, text: str) -> None:
    try:
        host_of(**{variable: text})
    except UsageError as error:
        assert str(error.where).startswith("h1")


@pytest.mark.parametrize("port", [22.9, True, "2_2", "２２", "0x16", [22], "9" * 5000])
def test_a_port_is_a_whole_number(port: Any) -> None:
    with pytest.raises(UsageError, match="is no port"):
        host_of(ansible_port=port)
    assert host_of(ansible_port=" 2222 ").port == 2222


def test_groups_that_are_reached_in_many_ways_are_read_once() -> None:
    groups: dict[str, Any] = {"_meta": {"hostvars": {}}, "all": {"children": ["a0", "b0"]}}
    for number in range(3000):
        for name in "ab":
            groups[f"{name}{number}"] = {"children": [f"a{number + 1}", f"b{number + 1}"]}
    groups |= {"a3000": {"hosts": ["h1"], "children": ["a0"]}, "b3000": {"hosts": ["h2"]}}
    few = {
        name: content for name, content in groups.items() if name in ("_meta", "all") or int(name[1:]) > 2970
    }
    few["all"] = {"children": ["a2971", "b2971"]}
    with bounded():
        hosts = hosts_in(few, Resolver(("hosts.yml",), Vault(())))
        assert [host.name for host in hosts] == ["h1", "h2"]
        assert set(hosts[0].groups) == few.keys() - {"_meta", "all", "b3000"}


@pytest.mark.parametrize("depth", [200, 100_000])
def test_variables_that_are_nested_too_deeply_are_refused(depth: int) -> None:
    nested = (
        '{"_meta": {"hostvars": {"h1": {"x": ' + "[" * depth + "]" * depth + '}}}, "all": {"hosts": ["h1"]}}'
    )
    with bounded(), pytest.raises(UsageError, match=r"nested too deeply|something else than JSON") as caught:
        loaded(nested)
    assert caught.value.where == "h1,"


@pytest.mark.parametrize(
    "stdout", ["[]", "3", '{"all": []}', '{"_meta": {"hostvars": []}}', '{"all": {"hosts": [1]}}']
)
def test_json_that_is_no_listing_is_refused(stdout: str) -> None:
    with pytest.raises(UsageError, match="something else than groups and hosts") as caught:
        loaded(stdout)
    assert caught.value.where == "h1,"


@pytest.mark.parametrize("line", ["x" * 1_000_000, "a-" * 400_000, "x " * 400_000, "x" + " " * 900_000])
def test_a_long_line_of_an_inventory_is_no_hang(tmp_path: Path, line: str) -> None:
    """Where Ansible has refused an inventory, the words of its secrets are looked for."""
    source = tmp_path / "hosts.yml"
    source.write_text(f"{line}\npassword: hunter22\n")
    kept = Kept('{"all": {}}', f"line one\nit says hunter22\n{TOTAL}")
    with (
        bounded(),
        mock.patch.object(ansible_inventory, "_run", return_value=kept),
        pytest.raises(NoHostMatched) as caught,
    ):
        load_hosts((str(source),))
    assert "hunter22" not in str(caught.value)
