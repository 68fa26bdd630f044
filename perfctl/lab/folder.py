"""Where a lab keeps its key, its state and its inventory inside a project folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from perfctl.errors import DataError, Refused, UsageError
from perfctl.lab.topology import LabSpec

_SCHEMA_VERSION = 1
LAYOUT = 2
"""The version of how hosts are made: 2 added devices and addresses for virtual machines."""
_INVENTORY_MARK = "# Written by `perfctl lab up`"


@dataclass(frozen=True, slots=True)
class LabState:
    """A lab as it was built: its spec, its images' tags by release, and the engine's ids of what was made."""

    spec: LabSpec
    image_tags: dict[str, str]
    """The release of the machine itself is ''."""
    ids: dict[str, str]
    """By name."""
    layout: int = LAYOUT


@dataclass(frozen=True, slots=True)
class LabFolder:
    """The paths of one lab."""

    project_dir: Path
    name: str

    @property
    def state_dir(self) -> Path:
        """Key, known_hosts and state of this lab; mode 0700; gone after `lab down`."""
        return self.project_dir / ".state" / "lab" / self.name

    @property
    def image_dir(self) -> Path:
        """The base's archive and the build context; a cache that `lab down` leaves."""
        return self.project_dir / ".state" / "lab-image"

    @property
    def engine_dir(self) -> Path:
        """Pid file and log of an engine that was started by hand; shared by the project's labs."""
        return self.project_dir / ".state" / "engine"

    @property
    def inventory(self) -> Path:
        """The inventory that names the lab's hosts."""
        return self.project_dir / "inventory" / f"{self.name}.yml"

    @property
    def key(self) -> Path:
        """The private ssh key."""
        return self.state_dir / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The hosts' keys."""
        return self.state_dir / "known_hosts"

    @property
    def _state_file(self) -> Path:
        return self.state_dir / "lab.json"

    def read(self) -> LabState | None:
        """Return the lab that was built here, or None. Raises DataError for a damaged state file."""
        try:
            document: Any = json.loads(self._state_file.read_text())
            settings = dict(document["spec"])
            for name in ("releases", "cgroups"):
                settings[name] = tuple(settings.get(name, ()))
            # Before there were several there was one, that of the machine's own release.
            tags = document["image_tags"] if "image_tags" in document else {"": document["image_tag"]}
            return LabState(LabSpec(**settings), tags, document["ids"], document.get("layout", 1))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, UsageError) as error:
            raise DataError(
                f"no state of a lab: {error}", where=str(self._state_file), hint="remove the file"
            ) from error

    def write(self, state: LabState) -> None:
        """Write the state of the lab."""
        document = {"schema_version": _SCHEMA_VERSION, **asdict(state)}
        partial = self._state_file.with_suffix(".part")
        partial.write_text(json.dumps(document, indent=2) + "\n")
        partial.replace(self._state_file)

    def has_foreign_inventory(self) -> bool:
        """Return whether a file that perfctl did not write is where the inventory belongs."""
        return self.inventory.exists() and _INVENTORY_MARK not in self.inventory.read_text()

    def forget(self) -> None:
        """Remove the state and the inventory, but no file that perfctl did not write."""
        if not self.has_foreign_inventory():
            self.inventory.unlink(missing_ok=True)
        for name in ("lab.json", "lab.part", "id_ed25519", "id_ed25519.pub", "known_hosts", "resolv.conf"):
            (self.state_dir / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.state_dir.rmdir()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of this lab. Raises Refused when another process has it."""
        self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.state_dir.parent / f"{self.name}.lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Refused("another perfctl is at work on this lab", where=self.name) from error
            yield
