"""The files that ship with perfctl are found, and the wheel carries each of them."""

import tomllib
from pathlib import Path

from perfctl import assets

REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_checkout_uses_its_own_top_level():
    assert assets.playbooks_dir() == REPOSITORY / "playbooks"
    assert assets.roles_dir() == REPOSITORY / "roles"
    assert assets.default_inventory().is_file()
    assert "localhost" in assets.default_inventory().read_text()


def test_the_wheel_carries_every_asset_under_the_same_relative_path():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    carried = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    asked_for = [
        assets.playbooks_dir(),
        assets.roles_dir(),
        assets.dockerfile(),
        assets.images_dir(),
        assets.default_inventory(),
    ]
    wanted = {str(path.relative_to(REPOSITORY)) for path in asked_for}
    assert carried == {path: f"perfctl/_data/{path}" for path in wanted}
