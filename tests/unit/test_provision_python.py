"""Which Python a host must have, and that one with an older Python is refused before anything is changed."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from perfctl.errors import Refused
from perfctl.model import Host
from perfctl.playbook import host_python
from perfctl.playbook.host_python import ansible_core_version, interpreter_of, lowest_python
from perfctl.provision import provision, stamp
from perfctl.provision.python import check_pythons

REPOSITORY = Path(__file__).resolve().parents[2]
FLOOR: tuple[int, int] = import_module("ansible.module_utils.basic")._PY_MIN
OLDEST = (3, 9)
"""The Python of Debian 11, the oldest host that was tried."""
ON_HOSTS = [
    REPOSITORY / "perfctl" / "job" / "host_lease.py",
    REPOSITORY / "perfctl" / "facts" / "host_reader.py",
    REPOSITORY / "perfctl" / "facts" / "describe_python.py",
    *sorted(REPOSITORY.glob("roles/*/library/*.py")),
    *sorted(REPOSITORY.glob("roles/*/module_utils/*.py")),
]


def test_the_lowest_python_is_the_one_that_ansible_compares_with() -> None:
    assert lowest_python() == FLOOR <= OLDEST


def test_an_ansible_that_does_not_say_it_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_python, "_FLOOR_FILE", Path("no", "such", "file.py"))
    assert lowest_python() is None
    check_pythons({"h1": "2.7.18"})


@pytest.mark.parametrize("path", ON_HOSTS, ids=lambda path: path.name)
def test_what_runs_on_hosts_is_python_of_the_oldest(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=OLDEST)


@pytest.mark.parametrize("version", ["3.9.2", "3.11.2", "3.13.5", "4.0.0", "", "no version"])
def test_what_is_new_enough_or_unknown_is_not_refused(version: str) -> None:
    check_pythons({"h1": version})


@pytest.mark.parametrize("version", ["2.7.18", "3.5.3", "3.7.3"])
def test_a_python_that_is_too_old_is_refused_with_both_versions(version: str) -> None:
    with pytest.raises(Refused) as caught:
        check_pythons({"h1": "3.11.2", "h2": version})
    needed = f"ansible-core {ansible_core_version()} needs {FLOOR[0]}.{FLOOR[1]} or newer on a host"
    assert caught.value.message == f"h2 has Python {version}: {needed}"
    assert caught.value.where == "h2"
    assert "ansible_python_interpreter" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "/usr/bin/python3"),
        ({"ansible_python_interpreter": "/opt/python3.12"}, "/opt/python3.12"),
        ({"ansible_python_interpreter": "auto_silent"}, None),
        ({"ansible_python_interpreter": "{{ somewhere }}/python"}, None),
    ],
)
def test_the_interpreter_is_the_one_that_ansible_will_use(
    variables: dict[str, Any], expected: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ANSIBLE_PYTHON_INTERPRETER", raising=False)
    monkeypatch.delenv("ANSIBLE_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    assert interpreter_of(Host("h1", "192.0.2.1", variables=variables)) == expected


@pytest.fixture
def old_python(tmp_path: Path) -> Path:
    """Return a program that says of itself what a Python of version 3.7 would."""
    path = tmp_path / "python3.7"
    path.write_text("#!/bin/sh\necho 3.7.3\n")
    path.chmod(0o755)
    return path


def _inventory(folder: Path, interpreter: str) -> str:
    path = folder / "hosts.yml"
    path.write_text(
        "all: {hosts: {here: {ansible_connection: local, ansible_python_interpreter: " + interpreter + "}}}\n"
    )
    return str(path)


def test_a_stamp_is_read_together_with_the_version_of_python(old_python: Path) -> None:
    def host(interpreter: str) -> Host:
        variables = {"ansible_python_interpreter": interpreter}
        return Host("here", "127.0.0.1", connection="local", variables=variables)

    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    for interpreter, version in ((str(old_python), "3.7.3"), ("/no/such/python", ""), ("auto", "")):
        reading = stamp.read_stamps([host(interpreter)])["here"]
        assert (reading.boot_id, reading.python) == (boot_id, version)


def test_a_host_with_an_older_python_is_refused_before_ansible_starts(
    old_python: Path, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match=r"here has Python 3\.7\.3: ansible-core .* needs"):
        provision([_inventory(tmp_path, str(old_python))])
