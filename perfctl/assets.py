"""Where the playbooks, roles and files that ship with perfctl are: the one way to find them.

In an installed wheel they lie in `perfctl/_data/`; in a checkout (an editable install) at its top level.
The wheel carries them under the same relative paths, so only the root differs.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _root() -> Path:
    """Return the folder that holds `playbooks/`, `roles/`, `images/`, `inventory/` and `Dockerfile.perf`."""
    installed = _PACKAGE / "_data"
    return installed if installed.is_dir() else _PACKAGE.parent


def playbooks_dir() -> Path:
    """Return the absolute folder of the playbooks."""
    return _root() / "playbooks"


def roles_dir() -> Path:
    """Return the absolute folder of the roles."""
    return _root() / "roles"


def dockerfile() -> Path:
    """Return the absolute path of the perf-tools image's Dockerfile."""
    return _root() / "Dockerfile.perf"


def images_dir() -> Path:
    """Return the absolute folder of the image layers' Dockerfiles."""
    return _root() / "images"


def default_inventory() -> Path:
    """Return the absolute path of the inventory that names only this machine."""
    return _root() / "inventory" / "localhost.yml"
