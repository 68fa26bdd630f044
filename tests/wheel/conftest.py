"""The wheel, installed in a fresh venv and used from a folder that is not the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Installation:
    """A venv that has perfctl from the wheel."""

    folder: Path

    @property
    def python(self) -> Path:
        """Its Python."""
        return self.folder / "bin" / "python"

    def run(
        self,
        program: str,
        *arguments: str,
        cwd: Path = Path("/"),
        environ: Mapping[str, str] | None = None,
        timeout_s: float = 300,
    ) -> subprocess.CompletedProcess[str]:
        """Run one of its programs; it must succeed. Nothing in the environment leads back to the checkout."""
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("PERFCTL_", "PYTHON"))
        }
        done = subprocess.run(
            [str(self.folder / "bin" / program), *arguments],
            cwd=cwd,
            env=clean | dict(environ or {}),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, f"{program} {arguments}\n{done.stdout}\n{done.stderr}"
        return done


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Return a fresh venv with the wheel; its dependencies are those of this venv."""
    folder = tmp_path_factory.mktemp("wheel")
    _python("build", "--wheel", "--no-isolation", "--outdir", str(folder), str(REPOSITORY))
    (wheel,) = folder.glob("perfctl-*.whl")
    # Without a pip of its own, which takes longer to install than all the rest.
    venv.create(folder / "venv", with_pip=False)
    made = Installation(folder / "venv")
    _python("pip", "--python", str(made.python), "install", "--quiet", "--no-deps", "--no-index", str(wheel))
    own = Path(
        made.run("python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
    )
    # A plain path in a .pth file: the packages of this venv become visible, its editable perfctl does not.
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for program in Path(sysconfig.get_path("scripts")).glob("ansible*"):
        (made.folder / "bin" / program.name).symlink_to(program)
    return made


def _python(module: str, *arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", module, *arguments], timeout=300, check=True, stdout=subprocess.DEVNULL
    )
