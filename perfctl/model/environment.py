"""Where a benchmark runs: natively, in a container, in a VM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from perfctl.model.identity import content_hash


@dataclass(frozen=True, slots=True)
class Environment:
    """One way of running a command on a host. Two environments with equal fields are the same (`key`)."""

    name: str
    kind: Literal["native", "container"]
    description: str = ""
    engine: Literal["docker"] | None = None
    image: str | None = None
    network: Literal["bridge", "host"] | None = None
    security_opt: tuple[str, ...] = ()
    """Values of `docker run --security-opt`, each a relaxation or a restriction of the stock profile."""
    cap_add: tuple[str, ...] = ()
    privileged: bool = False

    @property
    def key(self) -> str:
        """The content hash that names this environment in the database (its description does not count)."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "description"}
        return content_hash(fields)
