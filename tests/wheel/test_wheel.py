"""The wheel carries everything: built, installed in a fresh venv, and run from /."""

from __future__ import annotations

import json
from pathlib import Path

from perfctl.model import Host
from perfctl.provision import stamp
from tests.wheel.conftest import Installation


def test_the_package_comes_from_the_wheel(installed: Installation) -> None:
    path = Path(installed.run("python", "-c", "import perfctl; print(perfctl.__file__)").stdout)
    assert path.is_relative_to(installed.folder)


def test_the_command_runs_from_the_root_folder(installed: Installation) -> None:
    assert installed.run("perfctl", "--version").stdout.startswith("perfctl, version")
    listing = json.loads(installed.run("perfctl", "suites", "--format", "json").stdout)
    assert {"cpu", "memory", "net"} <= {row["name"] for row in listing["rows"]}


def test_playbooks_roles_and_the_image_recipe_are_there(installed: Installation) -> None:
    code = (
        "from perfctl import assets; "
        "print(assets.playbooks_dir() / 'provision.yml', assets.roles_dir() / 'perf_bridge', "
        "assets.dockerfile(), assets.default_inventory(), sep='\\n')"
    )
    paths = [Path(line) for line in installed.run("python", "-c", code).stdout.splitlines()]
    assert len(paths) == 4
    for path in paths:
        assert path.exists(), path
        assert path.is_relative_to(installed.folder)


def test_hosts_that_a_checkout_has_provisioned_are_current_for_the_wheel(installed: Installation) -> None:
    code = (
        "from perfctl.model import Host; from perfctl.provision import stamp; "
        "print(stamp.keys([Host('h1', '192.0.2.1')], {}, ())['h1'])"
    )
    own = stamp.keys([Host("h1", "192.0.2.1")], {}, ())["h1"]
    assert installed.run("python", "-c", code).stdout.strip() == own


def test_the_default_inventory_is_this_machine(installed: Installation) -> None:
    words = ["run", "--suite", "cpu", "--env", "native", "--blocks", "1", "--dry-run"]
    assert "localhost" in installed.run("perfctl", *words).stdout


def test_a_new_project_and_the_man_page_are_in_it(installed: Installation, tmp_path: Path) -> None:
    assert "Three ways to start" in installed.run("perfctl", cwd=tmp_path).stdout
    installed.run("perfctl", "init", cwd=tmp_path)
    assert "primes" in installed.run("perfctl", "suites", "example", cwd=tmp_path).stdout
    page = installed.folder / "share" / "man" / "man1" / "perfctl.1"
    assert page.read_text().startswith('.\\"')
