"""Read facts: what was true of a host, or inside an environment, when it was measured.

    host_argv() / inside_argv()  --any Shell-->  text  --parse()-->  Fingerprint

One POSIX sh script reads every row of `REGISTRY`; nothing is installed and nothing is cached on the host.
docs/facts.md has the table and the format.

`host` reads single values out of a fingerprint; `perfctl.validity` judges by them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from perfctl.facts.changes import RunChange, changes_of
from perfctl.facts.reading import FactChange, diff, parse
from perfctl.facts.registry import REGISTRY, FactSpec
from perfctl.facts.script import script

_PLAIN = re.compile(r"[A-Za-z0-9@%_+=:,./-]+")


def host_argv(
    programs: Sequence[str] = (),
    *,
    version_argvs: Sequence[Sequence[str]] = (),
    peers: Sequence[str] = (),
) -> list[str]:
    """Return the command that reads all facts of a host.

    `programs` are the executables whose path and sha256 are recorded, `version_argvs` commands (first word: a
    program) that print a version, `peers` addresses to which the route is looked up. Raises ValueError for
    a program or peer whose name could not be a row's name.
    """
    return _argv(inside=False, programs=programs, version_argvs=version_argvs, peers=peers)


def inside_argv(programs: Sequence[str] = (), *, version_argvs: Sequence[Sequence[str]] = ()) -> list[str]:
    """Return the command that reads the facts which an environment may change, from inside it."""
    return _argv(inside=True, programs=programs, version_argvs=version_argvs, peers=())


def _argv(
    *, inside: bool, programs: Sequence[str], version_argvs: Sequence[Sequence[str]], peers: Sequence[str]
) -> list[str]:
    for name in (*programs, *(argv[0] for argv in version_argvs), *peers):
        if not _PLAIN.fullmatch(name):
            raise ValueError(f"{name!r} cannot name a program or a peer")
    # A row is named by the program's last part: who comes first with a name has it.
    named = {PurePosixPath(name).name: name for name in reversed(programs)}
    versions = {PurePosixPath(argv[0]).name: argv for argv in reversed(version_argvs)}
    text = script(
        inside=inside,
        programs=tuple(reversed(named.values())),
        version_argvs=tuple(reversed(versions.values())),
        peers=tuple(dict.fromkeys(peers)),
    )
    return ["sh", "-c", text]


__all__ = [
    "REGISTRY",
    "FactChange",
    "FactSpec",
    "RunChange",
    "changes_of",
    "diff",
    "host_argv",
    "inside_argv",
    "parse",
]
