"""Read a lab's state from the docker engine; changes are made by playbooks/lab.yml."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perfctl.errors import CommandFailed
from perfctl.shell import Completed
from perfctl.shell.command import Elevation
from perfctl.shell.local import LocalShell

LABEL = "perfctl.lab"
STATE_LABEL = "perfctl.lab.state"
_SOCKET = Path("/var/run/docker.sock")
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Labelled:
    """A container or network that carries a lab's label."""

    is_network: bool
    id: str
    name: str
    lab: str
    state_dir: str


def bridge_of(network_id: str) -> str:
    """Return the link that the engine makes for a network that is a bridge."""
    return f"br-{network_id[:12]}"


def needs_sudo() -> bool:
    """Return whether we must become root to talk to the engine and to install packages."""
    return os.geteuid() != 0


class LabEngine:
    """The docker engine of this machine, through its command line."""

    def __init__(self) -> None:
        self._shell = LocalShell(elevation=Elevation(become=needs_sudo() and not os.access(_SOCKET, os.W_OK)))

    def answers(self) -> bool:
        """Return whether the engine answers."""
        return self._run(["version", "--format", "{{.Server.Version}}"]).exit_code == 0

    def labelled(self) -> tuple[Labelled, ...]:
        """Return all containers and networks of all labs on this machine."""
        found = []
        for kind, listing in (("container", ["ps", "--all"]), ("network", ["network", "ls"])):
            argv = [*listing, "--quiet", "--no-trunc", "--filter", f"label={LABEL}"]
            ids = self._checked(argv).text.split()
            if ids:
                found += [_labelled(kind, item) for item in self._inspect(kind, ids)]
        return tuple(found)

    def names(self) -> set[str]:
        """Return the names of all containers and networks."""
        containers = self._checked(["ps", "--all", "--format", "{{.Names}}"]).text.split()
        networks = self._checked(["network", "ls", "--format", "{{.Name}}"]).text.split()
        return {*containers, *networks}

    def networks(self) -> dict[str, str]:
        """Return the names of all networks by their ids."""
        argv = ["network", "ls", "--no-trunc", "--format", "{{.ID}} {{.Name}}"]
        lines = [line.split(None, 1) for line in self._checked(argv).text.splitlines()]
        return {words[0]: words[1] for words in lines if len(words) == 2}

    def has_image(self, name: str) -> bool:
        """Return whether the engine has an image of this name and tag."""
        return self._run(["image", "inspect", "--format", "{{.Id}}", name]).exit_code == 0

    def states(self, containers: Sequence[str]) -> dict[str, str]:
        """Return the state (running, exited, ...) of those of the named containers that exist."""
        text = self._checked(["ps", "--all", "--format", "{{json .}}"]).text
        listed = [_parsed(line) for line in text.splitlines()]
        return {item["Names"]: item["State"] for item in listed if item["Names"] in containers}

    def system_state(self, container: str) -> str:
        """Return the state of systemd in the container: running, starting, degraded, ..."""
        done = self._run(["exec", container, "systemctl", "is-system-running"])
        return done.text.strip() or "unknown"

    def _inspect(self, kind: str, ids: Sequence[str]) -> list[dict[str, Any]]:
        # One that was removed since it was listed is no error: the others are still printed.
        document: list[dict[str, Any]] = _parsed(self._run([kind, "inspect", *ids]).text or "[]")
        return document

    def _checked(self, argv: Sequence[str]) -> Completed:
        done = self._run(argv)
        if done.exit_code:
            raise CommandFailed(
                done.error_text or f"docker exited {done.exit_code}", where=f"docker {argv[0]}"
            )
        return done

    def _run(self, argv: Sequence[str]) -> Completed:
        return self._shell.run(["docker", *argv], timeout_s=_TIMEOUT_S)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise CommandFailed(
            f"what is called docker here does not answer as docker does: {text.splitlines()[0][:200]!r}",
            where="docker",
            hint="a lab needs docker itself; podman's stand-in prints notices",
        ) from error


def _labelled(object_type: str, item: dict[str, Any]) -> Labelled:
    is_network = object_type == "network"
    labels = (item if is_network else item["Config"])["Labels"]
    return Labelled(
        is_network, item["Id"], item["Name"].lstrip("/"), labels[LABEL], labels.get(STATE_LABEL, "")
    )
