"""Read all facts of a host, or of the inside of an environment, as a fingerprint."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import PurePosixPath

from perfctl.facts import inside, on_host
from perfctl.facts.command_sources import CommandOutput, ProgramDigest, ProgramPath, ProgramVersion
from perfctl.facts.on_host import ContainerOnHost
from perfctl.facts.raw import RawFacts
from perfctl.facts.registry import REGISTRY, FactSpec
from perfctl.facts.request import Request
from perfctl.facts.values import ROUTE
from perfctl.model import Fact, FactState, Fingerprint
from perfctl.shell import Shell

_PLAIN = re.compile(r"[A-Za-z0-9@%_+=:,./-]+")
_TIMEOUT_S = 60.0


def read_host(
    shell: Shell,
    *,
    python: str = "python3",
    programs: Sequence[str] = (),
    version_argvs: Sequence[Sequence[str]] = (),
    peers: Sequence[str] = (),
    timeout_s: float = _TIMEOUT_S,
) -> Fingerprint:
    """Return all facts of a host, whose interpreter is `python`.

    `programs` are the executables whose path and sha256 are recorded, `version_argvs` commands (first word: a
    program) that print a version, `peers` addresses to which the route is looked up. Raises ValueError for a
    program or peer whose name could not be a row's name, OutputError when the answer is damaged,
    CommandTimeout, HostUnreachable.
    """
    specs = host_specs(programs, version_argvs=version_argvs, peers=peers)
    return fingerprint(specs, on_host.read_raw(shell, request_of(specs), python=python, timeout_s=timeout_s))


def read_inside(
    shell: Shell,
    *,
    programs: Sequence[str] = (),
    version_argvs: Sequence[Sequence[str]] = (),
    container: ContainerOnHost | None = None,
    timeout_s: float = _TIMEOUT_S,
) -> Fingerprint:
    """Return the facts that an environment may change, read inside it by one command of `shell`.

    With `container` the host reads what is in files, and the command only the rest; where the environment has
    no `sh` to run it with, the rest is denied. Raises like `read_host`.
    """
    specs = inside_specs(programs, version_argvs=version_argvs)
    request = request_of(specs)
    if container is None:
        return fingerprint(specs, inside.read_raw(shell, request, timeout_s=timeout_s))
    with ThreadPoolExecutor(max_workers=1) as pool:
        reading = pool.submit(on_host.read_container, container, request, timeout_s=timeout_s)
        outputs = _read_outputs(shell, request, timeout_s)
    try:
        files = reading.result()
    except on_host.NotEntered:
        files = inside.read_raw(shell, request.files_alone, timeout_s=timeout_s)
    return fingerprint(specs, replace(files, outputs=outputs.outputs, unrun=outputs.unrun))


def _read_outputs(shell: Shell, request: Request, timeout_s: float) -> RawFacts:
    try:
        return inside.read_raw(shell, request.commands_alone, timeout_s=timeout_s)
    except inside.NoShell:
        return RawFacts({}, unrun=FactState.DENIED)


def host_specs(
    programs: Sequence[str] = (),
    *,
    version_argvs: Sequence[Sequence[str]] = (),
    peers: Sequence[str] = (),
) -> tuple[FactSpec, ...]:
    """Return every row that is read on a host. Raises ValueError."""
    routes = (
        FactSpec(f"net.route.{peer}", CommandOutput(f"ip route get {_checked(peer)}"), ROUTE, is_static=False)
        for peer in dict.fromkeys(peers)
    )
    return (*REGISTRY, *_program_specs(programs, version_argvs), *routes)


def inside_specs(
    programs: Sequence[str] = (), *, version_argvs: Sequence[Sequence[str]] = ()
) -> tuple[FactSpec, ...]:
    """Return every row that is read inside an environment. Raises ValueError."""
    rows = (spec for spec in REGISTRY if spec.inside)
    return (*rows, *_program_specs(programs, version_argvs))


def request_of(specs: Sequence[FactSpec]) -> Request:
    """Return what has to be read for some rows, each file and command once."""
    return Request.merge(spec.source.request for spec in specs)


def fingerprint(specs: Sequence[FactSpec], raw: RawFacts) -> Fingerprint:
    """Return the rows as they are in what was read. A row is never left out."""
    return Fingerprint(tuple(_fact(spec, raw) for spec in specs))


def _fact(spec: FactSpec, raw: RawFacts) -> Fact:
    state, text = spec.source.find(raw)
    return Fact(spec.name, state, text if state is FactState.PRESENT else "", spec.is_static)


def _program_specs(programs: Sequence[str], version_argvs: Sequence[Sequence[str]]) -> Iterator[FactSpec]:
    # A row is named by the program's last part: who comes first with a name has it.
    for name, program in {_name(program): program for program in reversed(programs)}.items():
        yield FactSpec(f"tool.{name}.path", ProgramPath(program))
        yield FactSpec(f"tool.{name}.sha256", ProgramDigest(program))
    for name, argv in {_name(argv[0]): argv for argv in reversed(version_argvs)}.items():
        yield FactSpec(f"tool.{name}.version", ProgramVersion(tuple(argv)))


def _name(program: str) -> str:
    return PurePosixPath(_checked(program)).name


def _checked(name: str) -> str:
    if not _PLAIN.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a program or a peer")
    return name
