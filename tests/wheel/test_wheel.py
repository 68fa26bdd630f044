"""The wheel carries everything: built, installed in a fresh venv, and run from /."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def _run(argv: list[str], *, cwd: str = "/") -> str:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the python of a fresh venv with the wheel; its dependencies are those of this venv."""
    folder = tmp_path_factory.mktemp("wheel")
    _run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), "."],
        cwd=str(REPOSITORY),
    )
    (wheel,) = folder.glob("perfctl-*.whl")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    _run([str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)])
    own = Path(_run([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip())
    # A plain path in a .pth file: the packages of this venv become visible, its editable perfctl does not.
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for program in Path(sysconfig.get_path("scripts")).glob("ansible*"):
        (python.parent / program.name).symlink_to(program)
    return python


def test_the_package_comes_from_the_wheel(installed: Path) -> None:
    path = _run([str(installed), "-c", "import perfctl; print(perfctl.__file__)"])
    assert path.startswith(str(installed.parents[1]))


def test_the_command_runs_from_the_root_folder(installed: Path) -> None:
    assert _run([str(installed.with_name("perfctl")), "--version"]).startswith("perfctl, version")
    listing = json.loads(_run([str(installed.with_name("perfctl")), "suites", "--format", "json"]))
    assert {"cpu", "memory", "net"} <= {row["name"] for row in listing["rows"]}


def test_playbooks_roles_and_the_image_recipe_are_there(installed: Path) -> None:
    code = (
        "from perfctl import assets; "
        "print(assets.playbooks_dir() / 'provision.yml', assets.roles_dir() / 'perf_bridge', "
        "assets.dockerfile(), assets.default_inventory(), sep='\\n')"
    )
    paths = [Path(line) for line in _run([str(installed), "-c", code]).splitlines()]
    assert len(paths) == 4
    for path in paths:
        assert path.exists(), path
        assert path.is_relative_to(installed.parents[1])


def test_the_default_inventory_is_this_machine(installed: Path) -> None:
    listing = _run(
        [
            str(installed.with_name("perfctl")),
            "run",
            "--suite",
            "cpu",
            "--env",
            "native",
            "--blocks",
            "1",
            "--dry-run",
        ]
    )
    assert "localhost" in listing
