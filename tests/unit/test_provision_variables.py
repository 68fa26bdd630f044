"""-e on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfctl.cli.variables import read_variables
from perfctl.errors import UsageError


def test_values_are_yaml_and_later_ones_win(tmp_path: Path) -> None:
    file = tmp_path / "vars.yml"
    file.write_text("perf_bridge_mtu: 9000\nperf_bridge_name: br7\n")
    given = [f"@{file}", "perf_bridge_mtu=1500", '{"perf_docker_extra_flags": ["--debug"]}', "perf_a=x=y"]
    assert read_variables(given) == {
        "perf_bridge_mtu": 1500,
        "perf_bridge_name": "br7",
        "perf_docker_extra_flags": ["--debug"],
        "perf_a": "x=y",
    }


@pytest.mark.parametrize("item", ["perf_bridge_mtu", "=5", "a b=5", "@/no/such/file", "{broken", "perf_x=[1"])
def test_what_cannot_be_read_is_named(item: str) -> None:
    with pytest.raises(UsageError):
        read_variables([item])


def test_an_encrypted_file_is_sent_to_ansible(tmp_path: Path) -> None:
    file = tmp_path / "secret.yml"
    file.write_text("$ANSIBLE_VAULT;1.1;AES256\n6135\n")
    with pytest.raises(UsageError) as caught:
        read_variables([f"@{file}"])
    assert "vault" in str(caught.value.hint)
