"""Decide whether every host is fit to be measured, by its facts, before the first block."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from perfctl.errors import Refused
from perfctl.execute.session import RunSession
from perfctl.execute.survey import take_host_facts
from perfctl.model import Fingerprint, Note
from perfctl.validity.finding import Finding, Severity
from perfctl.validity.preflight import Preflight, judge_host

RECHECK_S = 10.0
"""The kernel averages load over the last ten seconds: after these, connecting is no longer in it."""
_FORCE = "; --force measures anyway"


def preflight(session: RunSession, *, force: bool) -> None:
    """Read the hosts' facts and report why a host should not be measured now.

    The facts of a host that is refused are read again after `RECHECK_S`. Raises Refused when it is refused
    again, unless `force`; so far nothing but facts has been read on any host.
    """
    names = [host.name for host in session.fleet.hosts]
    _read_facts(session, names, session.ahead.facts)
    # Which machine each host is, is known by its facts.
    previous = {name: session.stored.previous_facts(name) for name in session.facts}
    judged = _judge(session, previous)
    doubtful = [name for name, found in judged.items() if found.refusals]
    if doubtful and not force:
        text = f"not fit to be measured now; its facts are read again in {RECHECK_S:.0f} s"
        session.listener(Note("info", ", ".join(doubtful), text))
        session.stop.wait(RECHECK_S)
        _read_facts(session, doubtful)
        judged = _judge(session, previous)
    for note in notes(judged, force=force):
        session.listener(note)
    if not force:
        refuse(judged, session.planned.resume_command)


def _read_facts(
    session: RunSession, names: Collection[str], known: Mapping[str, Fingerprint] | None = None
) -> None:
    found = take_host_facts(
        *(session.fleet, session.store, session.run_id, session.plan, "before", session.listener),
        only=names,
        known=known,
    )
    session.facts.update(found)


def _judge(session: RunSession, previous: Mapping[str, Fingerprint | None]) -> dict[str, Preflight]:
    return {
        name: judge_host(found, previous=previous.get(name), rules=session.thresholds.preflight)
        for name, found in sorted(session.facts.items())
    }


def notes(judged: Mapping[str, Preflight], *, force: bool) -> Iterator[Note]:
    """Yield a warning for each host with its findings; refusals are among them only with `force`."""
    for name, found in judged.items():
        warned = [item for item in found.findings if force or item.severity is not Severity.REFUSE]
        if warned:
            yield Note("warning", name, "; ".join(map(_text, warned)))


def _text(finding: Finding) -> str:
    overruled = finding.severity is Severity.REFUSE
    return f"{finding.sentence} (measured because of --force)" if overruled else finding.sentence


def refuse(judged: Mapping[str, Preflight], resume_command: str) -> None:
    """Raise Refused with the findings of every host that is not fit, and what to do about each."""
    bad = {name: found.refusals for name, found in judged.items() if found.refusals}
    if not bad:
        return
    sentences = [f"{name}: {finding.sentence}" for name, findings in bad.items() for finding in findings]
    # Each hint may end with the option that is named once, at the end.
    hints = [finding.hint.removesuffix(_FORCE) for findings in bad.values() for finding in findings]
    hints += [f"then: {resume_command}" + _FORCE]
    raise Refused(
        "\n".join(["not fit to be measured", *sentences]), hint="; ".join(dict.fromkeys(filter(None, hints)))
    )
