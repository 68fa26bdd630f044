"""Read the facts of the hosts before and after a run, and those inside the environments before it.

An environment that cannot be made, or a missing program, is found here once, so that it does not fail block
after block; the invocations concerned are recorded with that reason, never left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Literal

from perfctl import facts
from perfctl.environments import label, launcher
from perfctl.environments.drivers import driver_for
from perfctl.errors import (
    CommandFailed,
    CommandTimeout,
    EnvironmentDied,
    EnvironmentFailure,
    EnvironmentNotMade,
    EnvironmentUnavailable,
    HostError,
    OutputError,
    PerfctlError,
)
from perfctl.execute.fleet import ConnectedHost, Fleet
from perfctl.execute.invocation import InvocationOutcome, outcome_of
from perfctl.execute.network_path import NetworkPath, path_facts, probe_paths
from perfctl.model import (
    Environment,
    FactState,
    Fingerprint,
    GuestBoot,
    Host,
    Listener,
    Note,
    Plan,
    Reason,
    Status,
    Target,
    content_hash,
)
from perfctl.shell import Transport
from perfctl.store import Store
from perfctl.workloads import workload_of

_FACTS_TIMEOUT_S = 60.0
_NOT_MADE = EnvironmentNotMade.default_reason


@dataclass(frozen=True, slots=True)
class SurveyResult:
    """The result for one environment on one host: its fingerprint's key, or why nothing can run in it."""

    fingerprint_id: str | None
    unavailable: InvocationOutcome | None = None
    is_doubtful: bool = False
    """Whether it is `unavailable` for a reason that may pass: a guest that was silent."""
    missing_programs: frozenset[str] = frozenset()
    remarks: tuple[str, ...] = ()
    """Warnings for the user."""
    paths: Mapping[str, NetworkPath] = field(default_factory=dict)
    """The network path from inside to each peer."""
    first_output_s: float | None = None
    """The seconds that its guest took until its first output."""
    has_launcher: bool = False
    """Whether it has the program that measures what a command uses."""

    def outcome_for(self, programs: Sequence[str], provided_by: str) -> InvocationOutcome | None:
        """Return the outcome of a benchmark that needs `programs` and cannot run; None: it can."""
        if self.unavailable is not None:
            return self.unavailable
        missing = [program for program in programs if program in self.missing_programs]
        if missing:
            detail = f"not installed: {', '.join(missing)} (try: {provided_by})"
            return InvocationOutcome(Status.FAILED, Reason.TOOL_MISSING, detail)
        return None


SurveyResults = dict[tuple[str, str], SurveyResult]
"""(host, key of the environment) -> result."""


def first_output_s(survey: SurveyResults, host: str) -> float | None:
    """Return the longest time until a guest's first output on a host; None where no guest was made."""
    found = [item.first_output_s for (name, _), item in survey.items() if name == host]
    return max((seconds for seconds in found if seconds is not None), default=None)


def programs_of(plan: Plan) -> tuple[str, ...]:
    """Return the executables that the plan's benchmarks need, each once."""
    names = [program for item in plan.benchmarks for program in workload_of(item).programs]
    return tuple(dict.fromkeys(names))


def versions_of(plan: Plan) -> tuple[tuple[str, ...], ...]:
    """Return the commands that print the versions of the plan's workloads, each once."""
    return tuple(dict.fromkeys(workload_of(item).version_argv for item in plan.benchmarks))


Targets = Mapping[str, Collection[Target]]
"""Host -> the targets that it is in."""


def targets_of(plan: Plan) -> Targets:
    """Return the targets of a plan, looked up once for all hosts: there may be thousands of blocks."""
    found: dict[str, set[Target]] = {}
    for target in {block.target for block in plan.blocks()}:
        for name in target.hosts:
            found.setdefault(name, set()).add(target)
    return found


def peers_of(targets: Targets, host: Host, hosts: Sequence[Host]) -> dict[str, str]:
    """Return the addresses, by name, of the peers of `host`: the routes are facts of the host."""
    names = {name for target in targets.get(host.name, ()) for name in target.hosts} - {host.name}
    return {item.name: item.network_address for item in hosts if item.name in names} if names else {}


def environments_on(plan: Plan, targets: Targets, host: Host) -> list[Environment]:
    """Return the environments to open on `host`: the plan's, and those of servers where it is a peer."""
    own = targets.get(host.name, ())
    found: list[Environment] = []
    if any(target.host == host.name for target in own):
        found += plan.environments
    if any(target.peer == host.name for target in own):
        found += [environment.of_server for environment in plan.environments]
    return list({environment.key: environment for environment in found}.values())


def read_host_facts(
    transport: Transport, host: Host, plan: Plan, hosts: Sequence[Host], targets: Targets
) -> Fingerprint:
    """Return the facts of a host that the plan's benchmarks need. Raises like `facts.read_host`."""
    return facts.read_host(
        transport,
        python=host.python,
        programs=(*programs_of(plan), launcher.PROGRAM),
        version_argvs=versions_of(plan),
        peers=list(peers_of(targets, host, hosts).values()),
        timeout_s=_FACTS_TIMEOUT_S,
    )


def take_host_facts(
    fleet: Fleet,
    store: Store,
    run_id: str,
    plan: Plan,
    phase: Literal["before", "after"],
    listener: Listener,
    *,
    only: Collection[str] | None = None,
    known: Mapping[str, Fingerprint] | None = None,
) -> dict[str, Fingerprint]:
    """Read and store the facts of all connected hosts (or of those in `only`) at once, and return them.

    Those that are `known` have just been read. A host whose facts could not be read is left out, with a
    warning. `phase` is 'before' or 'after'.
    """
    targets = targets_of(plan)
    taken: dict[str, Fingerprint] = {}

    def take(connected: ConnectedHost) -> None:
        host = connected.host
        try:
            if known and host.name in known:
                fingerprint = known[host.name]
            else:
                fingerprint = read_host_facts(connected.transport, host, plan, fleet.hosts, targets)
        except OutputError as error:
            text = f"facts could not be read: {error.with_hint}"
            listener(Note("warning", connected.host.name, text))
            return
        store.writer.record_host_snapshot(run_id, connected.host.name, phase, fingerprint)
        taken[connected.host.name] = fingerprint

    fleet.each(take, only=only)
    return taken


def survey_environments(
    fleet: Fleet, store: Store, run_id: str, plan: Plan, listener: Listener
) -> SurveyResults:
    """Open every environment of the plan once on each host, and store the facts read inside."""
    survey: SurveyResults = {}
    targets = targets_of(plan)

    def take(connected: ConnectedHost) -> None:
        host = connected.host
        peers = peers_of(targets, host, fleet.hosts)
        paths: dict[str, Mapping[str, NetworkPath]] = {}
        own_results = dict[tuple[str, str], SurveyResult]()
        for environment in environments_on(plan, targets, host):
            slowest_s = first_output_s(own_results, host.name)
            found = _survey_one(connected, environment, store, run_id, plan, peers, slowest_s)
            own_results[host.name, environment.key] = found
            paths[environment.name] = found.paths
            for remark in found.remarks:
                listener(Note("warning", f"{host.name}/{environment.name}", remark))
        survey.update(own_results)
        for remark in _unequal_mtus(paths):
            listener(Note("warning", host.name, remark))

    fleet.each(take)
    return survey


def survey_again(
    fleet: Fleet,
    store: Store,
    run_id: str,
    plan: Plan,
    listener: Listener,
    survey: SurveyResults,
    name: str,
    environment: Environment,
) -> None:
    """Open an environment whose result is doubtful once more on the host `name`; this result settles it.

    Raises HostError.
    """
    connected = fleet[name]
    peers = peers_of(targets_of(plan), connected.host, fleet.hosts)
    slowest_s = first_output_s(survey, name)
    found = _survey_one(connected, environment, store, run_id, plan, peers, slowest_s)
    survey[name, environment.key] = replace(found, is_doubtful=False)
    for remark in found.remarks:
        listener(Note("warning", f"{name}/{environment.name}", remark))


def describe_again(fleet: Fleet, store: Store, run_id: str, plan: Plan, listener: Listener) -> None:
    """Read once more what the environments are made of, and store it where it is not what it was.

    Nothing is booted for that: of an environment within another one only the outer one is described.
    """
    targets = targets_of(plan)

    def take(connected: ConnectedHost) -> None:
        host = connected.host
        for environment in environments_on(plan, targets, host):
            known = store.run(run_id).facts(host.name, environment.name)
            if not known.facts or environment.key not in {item.key for item in plan.environments}:
                continue
            try:
                now = _description_now(connected, environment, run_id)
            except HostError:
                raise
            except PerfctlError as error:
                text = f"what it is made of after the run could not be read: {error.message}"
                listener(Note("warning", f"{host.name}/{environment.name}", text))
                continue
            before = {
                fact.name.removeprefix("environment."): fact.value
                for fact in known.facts
                if fact.name.startswith("environment.")
            }
            if any(before.get(name, text) != text for name, text in now.items()):
                inside = Fingerprint(
                    tuple(fact for fact in known.facts if not fact.name.startswith("environment."))
                )
                store.writer.record_environment_snapshot(
                    run_id, host.name, environment.name, inside, {**before, **now}
                )

    fleet.each(take)


def _description_now(connected: ConnectedHost, environment: Environment, run_id: str) -> dict[str, str]:
    """Return the description of the environment, or of the one that it is within. Raises PerfctlError."""
    host = connected.host
    driver = driver_for(
        environment.outermost,
        run_id=run_id,
        invocation_id=content_hash([run_id, host.name, environment.key, "after"])[:32],
        host_address=host.network_address,
    )
    with _telling(f"{host.name}/{environment.name}"):
        found = driver.describe(connected.jobs)
    if environment.within is None:
        return found
    # A guest that containers are made in has a disk more.
    return {f"within.{name}": text for name, text in found.items() if name != "domain.xml"}


@dataclass(frozen=True, slots=True)
class _Inside:
    """What was read inside an environment."""

    fingerprint: Fingerprint
    description: Mapping[str, str]
    paths: Mapping[str, NetworkPath]
    boot: GuestBoot | None
    first_output_s: float | None

    @property
    def has_launcher(self) -> bool:
        """Whether the launcher was found there."""
        fact = self.fingerprint.get(f"tool.{launcher.PROGRAM}.path")
        return fact is not None and fact.state is FactState.PRESENT


def _survey_one(
    connected: ConnectedHost,
    environment: Environment,
    store: Store,
    run_id: str,
    plan: Plan,
    peers: Mapping[str, str],
    first_output_s: float | None,
) -> SurveyResult:
    remarks: list[str] = []
    try:
        try:
            inside = _read_inside(connected, environment, run_id, plan, peers, first_output_s)
        except (EnvironmentDied, CommandTimeout) as error:
            # One guest that hangs must not cost the run every guest on this host.
            remarks.append(f"made once more: {error.message}")
            inside = _read_inside(connected, environment, run_id, plan, peers, first_output_s)
    except EnvironmentFailure as error:
        outcome = outcome_of(error)
        if store.run(run_id).facts(connected.host.name, environment.name).facts:
            outcome = outcome.as_failure("it was opened in this run before: ")
        remarks.append(f"not available: {outcome.detail}")
        # A full disk, too little memory or a name that is taken may pass, as a guest that died.
        is_settled = isinstance(error, EnvironmentUnavailable) or error.reason == _NOT_MADE
        return SurveyResult(None, outcome, is_doubtful=not is_settled, remarks=tuple(remarks))
    except CommandFailed as error:
        # As where its engine was stopped meanwhile, which then removes nothing: that may pass.
        remarks.append(f"not available: {error.message}")
        return SurveyResult(None, outcome_of(error), is_doubtful=True, remarks=tuple(remarks))
    except (OutputError, CommandTimeout) as error:
        # The benchmarks may still run; their invocations have no fingerprint.
        remarks.append(f"facts could not be read: {error}")
        return SurveyResult(None, remarks=tuple(remarks))
    description = dict(inside.description)
    meaning = label.remark(environment, description.get("engine.security_options", ""))
    if meaning:
        remarks.append(meaning)
        description["label"] = meaning
    missing = _missing(inside.fingerprint, programs_of(plan))
    if inside.boot and inside.boot.attempts > 1:
        remarks.append(inside.boot.remark)
    if missing:
        remarks.append(f"not installed: {', '.join(sorted(missing))}")
    remarks += [f"to {name}: {path.remark}" for name, path in inside.paths.items() if path.remark]
    key = None
    if environment.key in {item.key for item in plan.environments}:
        # An environment that is only a server's has no row of its own among the run's facts.
        whole = {**description, **path_facts(inside.paths)}
        host = connected.host.name
        key = store.writer.record_environment_snapshot(
            run_id, host, environment.name, inside.fingerprint, whole
        )
    return SurveyResult(
        key,
        missing_programs=missing,
        remarks=tuple(remarks),
        paths=inside.paths,
        first_output_s=inside.first_output_s,
        has_launcher=inside.has_launcher,
    )


@contextmanager
def _telling(where: str) -> Iterator[None]:
    """Turn the error of what nobody expected a host to print into one that costs this environment alone."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        text = f"what was printed there cannot be read: {type(error).__name__}: {error}"
        raise EnvironmentNotMade(text, where=where) from error


def _read_inside(
    connected: ConnectedHost,
    environment: Environment,
    run_id: str,
    plan: Plan,
    peers: Mapping[str, str],
    first_output_s: float | None,
) -> _Inside:
    """Make the environment and read it. Raises EnvironmentFailure, OutputError, CommandTimeout."""
    host = connected.host
    driver = driver_for(
        environment,
        run_id=run_id,
        invocation_id=content_hash([run_id, host.name, environment.key, "survey"])[:32],
        host_address=host.network_address,
        first_output_s=first_output_s,
    )
    paths: Mapping[str, NetworkPath] = {}
    # open() raises for the same reasons as check(), and is needed anyway.
    with _telling(f"{host.name}/{environment.name}"), driver.open(connected.jobs) as inside:
        description = driver.describe(connected.jobs)
        container = None
        if inside.container_id:
            container = facts.ContainerOnHost(connected.jobs, inside.container_id, host.python)
        fingerprint = facts.read_inside(
            inside,
            programs=(*programs_of(plan), launcher.PROGRAM),
            version_argvs=versions_of(plan),
            container=container,
            timeout_s=_FACTS_TIMEOUT_S,
        )
        with suppress(CommandTimeout):
            paths = probe_paths(inside, peers)
        return _Inside(fingerprint, description, paths, inside.boot, inside.opening_s.get("console"))


def _unequal_mtus(paths: Mapping[str, Mapping[str, NetworkPath]]) -> Iterator[str]:
    """Yield a warning for each peer to which environments send packets of different sizes."""
    for peer in dict.fromkeys(name for found in paths.values() for name in found):
        sizes = {name: found[peer].mtu_bytes for name, found in paths.items() if peer in found}
        if len(set(sizes.values())) > 1:
            each = ", ".join(f"{name} {size}" for name, size in sizes.items())
            yield f"the largest packet to {peer} differs: {each} bytes"


def _missing(fingerprint: Fingerprint, programs: Sequence[str]) -> frozenset[str]:
    found = {program: fingerprint.get(f"tool.{program}.path") for program in programs}
    return frozenset(
        name for name, fact in found.items() if fact is not None and fact.state is FactState.MISSING
    )
