"""A plan as a file: a run that is made and not begun, for one controller or several."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfctl import __version__
from perfctl.errors import DataError, SchemaMismatch, UsageError
from perfctl.model import Host, Plan
from perfctl.plan.json import plan_from_json, plan_to_json
from perfctl.plan.request import PlannedRun
from perfctl.redaction import redact_tree
from perfctl.validity.thresholds import Thresholds

if TYPE_CHECKING:
    from perfctl.store import Store

FORMAT, VERSION = "perfctl plan", 1
_ID = re.compile(r"[0-9a-f-]{36}")
_HOST = ("name", "address", "connection", "port", "user", "test_address", "resource")


@dataclass(frozen=True, slots=True)
class PlanFile:
    """What a run is begun with, alike in every database."""

    run_id: str
    made_at: float
    command: tuple[str, ...]
    inventory: tuple[str, ...]
    thresholds_json: str
    hosts: tuple[Host, ...]
    """As the database keeps them: nothing that is needed to log in."""
    plan: Plan

    @classmethod
    def of(cls, planned: PlannedRun, command: Sequence[str]) -> PlanFile:
        """Return the file of a run that was just planned.

        Raises UsageError when its number of blocks is still to be decided: no controller sees all pilots.
        """
        undecided = planned.plan.undecided()
        if undecided:
            raise UsageError(
                f"the number of blocks of {undecided[0].name} is not fixed, but that of a plan is",
                hint="--blocks 10 is a good start",
            )
        return cls(
            planned.run_id,
            time.time(),
            tuple(redact_tree(tuple(command))),
            planned.inventory,
            planned.thresholds.to_json(),
            tuple(Host(**{name: getattr(host, name) for name in _HOST}) for host in planned.hosts),
            planned.plan,
        )

    @property
    def plan_json(self) -> str:
        """The plan as the database keeps it."""
        return plan_to_json(self.plan)

    def store(self, store: Store) -> None:
        """Store the run unless it is there. Raises DataError when it is there with another plan."""
        if any(run.run_id == self.run_id for run in store.runs()):
            if store.run(self.run_id).plan_json() != self.plan_json:
                raise DataError(
                    "the database has another plan under this id",
                    where=f"run {self.run_id}",
                    hint="use the file that the run was begun with, or make a new plan",
                )
            return
        store.writer.begin_run(
            self.run_id,
            self.plan,
            self.plan_json,
            self.hosts,
            command=self.command,
            perfctl_version=__version__,
            inventory=self.inventory,
            thresholds_json=self.thresholds_json,
            planned_at=self.made_at,
        )

    def write(self, path: Path) -> None:
        """Write the file, aside, and then give it its name. Raises UsageError when it exists."""
        if path.exists():
            raise UsageError("this file exists", where=str(path), hint="name another one")
        content = {
            "format": FORMAT,
            "version": VERSION,
            "perfctl_version": __version__,
            "run_id": self.run_id,
            "made_at": self.made_at,
            "command": self.command,
            "inventory": self.inventory,
            "thresholds": json.loads(self.thresholds_json),
            "hosts": [{name: getattr(host, name) for name in _HOST} for host in self.hosts],
            "plan": json.loads(self.plan_json),
        }
        unfinished = None
        try:
            descriptor, unfinished = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(content, file, indent=1)
                file.write("\n")
            Path(unfinished).rename(path)
        except OSError as error:
            raise DataError(f"cannot be written: {error.strerror}", where=str(path)) from error
        finally:
            if unfinished is not None:
                Path(unfinished).unlink(missing_ok=True)

    @classmethod
    def read(cls, path: Path) -> PlanFile:
        """Read a file. Raises DataError for one that is none, SchemaMismatch for one of another version."""
        where = str(path)
        try:
            content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise ValueError(f"its format is {content['format']!r:.40}")
            version, of_perfctl = content["version"], content["perfctl_version"]
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", where=where) from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"this is no plan of perfctl: {error}", where=where) from error
        if (version, of_perfctl) != (VERSION, __version__):
            raise SchemaMismatch(
                f"the plan was made by perfctl {of_perfctl!s:.40}, this is {__version__}",
                where=where,
                hint="all controllers of a run have one version: make the plan again, or use that version",
            )
        try:
            hosts = tuple(Host(**{name: host[name] for name in _HOST}) for host in content["hosts"])
            plan = plan_from_json(json.dumps(content["plan"]), where=where)
            unknown = {name for block in plan.blocks() for name in block.target.hosts}
            unknown -= {host.name for host in hosts}
            if unknown or not _ID.fullmatch(content["run_id"]):
                raise ValueError(f"no host {min(unknown)}" if unknown else "its run has no id")
            return cls(
                str(content["run_id"]),
                float(content["made_at"]),
                tuple(map(str, content["command"])),
                tuple(map(str, content["inventory"])),
                Thresholds.from_json(json.dumps(content["thresholds"])).to_json(),
                hosts,
                plan,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            text = f"this is no plan of perfctl: {type(error).__name__}: {error}"
            raise DataError(text, where=where) from error
