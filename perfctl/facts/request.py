"""What is to be read in one go, on a host or inside an environment."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace


@dataclass(frozen=True, slots=True)
class Command:
    """A command to run; `key` names its output."""

    key: str
    argv: tuple[str, ...]
    each: str = ""
    """A pattern: the command runs for the part of each match at its first wildcard, which is {} in `argv` and
    then follows the key. On hosts only."""
    but_not: tuple[str, ...] = ()
    """Patterns: parts that they match are left out of `each`."""
    last_bytes: int | None = None
    """How much of the end of its output is wanted; None: all."""
    instead: Command | None = None
    """What runs when it failed or printed nothing."""
    is_located: bool = False
    """Whether it is one of the request's programs, which are looked for on the PATH of benchmarks.

    On a host it then runs only where it was found."""

    @property
    def always_runs(self) -> bool:
        """Whether it runs once, whatever is there."""
        return not (self.each or self.is_located)

    @property
    def chain(self) -> Iterator[Command]:
        """The command, and what runs instead of it."""
        yield self
        if self.instead is not None:
            yield from self.instead.chain


@dataclass(frozen=True, slots=True)
class Request:
    """Files to read and commands to run, each named once."""

    files: tuple[str, ...] = ()
    """Patterns. {release} is the kernel's release, on hosts only."""
    listed: tuple[str, ...] = ()
    """Patterns of which only the paths that exist are wanted."""
    cgroup_files: tuple[str, ...] = ()
    """CONTROLLER/FILE of the own control group; version 2 is the controller '.'."""
    variables: tuple[str, ...] = ()
    """Names of environment variables. No others are ever read."""
    commands: tuple[Command, ...] = ()
    programs: tuple[str, ...] = ()
    """Programs to look for on the PATH, and to take the sha256 of."""

    @classmethod
    def merge(cls, several: Iterable[Request]) -> Request:
        """Return one request for all of them."""
        whole = [*several]
        return cls(
            *(
                tuple(dict.fromkeys(item for one in whole for item in getattr(one, field.name)))
                for field in fields(cls)
            )
        )

    @property
    def files_alone(self) -> Request:
        """What of it needs no command."""
        return replace(self, commands=())

    @property
    def commands_alone(self) -> Request:
        """The commands of it."""
        return Request(commands=self.commands)

    def to_json(self) -> str:
        """Return it as JSON, as `host_reader.py` takes it."""
        return json.dumps(asdict(self))
