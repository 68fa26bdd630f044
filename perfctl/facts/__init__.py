"""Facts: what was true of a host, or inside an environment, when it was measured.

    host_argv() / inside_argv()  --any Shell-->  text  --parse()-->  Fingerprint

One POSIX sh script reads every row of `REGISTRY`; nothing is installed and nothing is cached on the host.
docs/facts.md has the table and the format.

    counters before, after  --judge_validity()-->  Validity     does this invocation count?
    Fingerprint             --judge_host()------>  Preflight    is this host fit to be measured?
    value, Bound            --judge_bound()----->  Finding      can this value be true?
    all of an invocation    --assess()---------->  Assessment   both, as the database keeps them

They judge by rules that are fixed beforehand; docs/validity.md has every rule and its limits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from perfctl.facts.assessment import Assessment, Case, Claim, Limits, Reading, Server, Values, assess
from perfctl.facts.bounds import (
    ALL_DISKS,
    BEYOND_ANY_CACHE_BYTES,
    Bound,
    beyond_caches_bytes,
    claimed_bytes,
    device_bytes,
    is_bridge,
    is_on_disks,
    judge_bound,
    line_rate,
    memory_bandwidth,
    route_interface,
    slowest,
)
from perfctl.facts.counters import CounterDelta, DiskDelta, LinkDelta, parse_counters
from perfctl.facts.finding import Finding, Rule, Severity, Thresholds, Unjudged
from perfctl.facts.preflight import PREFLIGHT, Preflight, judge_host, online_cpus
from perfctl.facts.reading import FactChange, diff, parse
from perfctl.facts.registry import REGISTRY, FactSpec
from perfctl.facts.script import script
from perfctl.facts.thresholds import VALIDITY, Expected
from perfctl.facts.validity import Validity, Verdict, judge_validity

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
    "ALL_DISKS",
    "BEYOND_ANY_CACHE_BYTES",
    "PREFLIGHT",
    "REGISTRY",
    "VALIDITY",
    "Assessment",
    "Bound",
    "Case",
    "Claim",
    "CounterDelta",
    "DiskDelta",
    "Expected",
    "FactChange",
    "FactSpec",
    "Finding",
    "Limits",
    "LinkDelta",
    "Preflight",
    "Reading",
    "Rule",
    "Server",
    "Severity",
    "Thresholds",
    "Unjudged",
    "Validity",
    "Values",
    "Verdict",
    "assess",
    "beyond_caches_bytes",
    "claimed_bytes",
    "device_bytes",
    "diff",
    "host_argv",
    "inside_argv",
    "is_bridge",
    "is_on_disks",
    "judge_bound",
    "judge_host",
    "judge_validity",
    "line_rate",
    "memory_bandwidth",
    "online_cpus",
    "parse",
    "parse_counters",
    "route_interface",
    "slowest",
]
