"""Is every host fit to be measured? Judged by its facts before the first block."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from perfctl.errors import Refused
from perfctl.execute.block import Conduct
from perfctl.execute.survey import take_host_facts
from perfctl.model import Fingerprint, Note
from perfctl.validity import Finding, Preflight, Severity, judge_host

SECOND_LOOK_S = 10.0
"""The kernel's short averages are of the last ten seconds: by then what connecting cost has left them."""
_FORCE = "; --force measures all the same"


def preflight(conduct: Conduct, *, force: bool) -> None:
    """Read the hosts' facts and say what speaks against measuring there.

    A host that should be refused is looked at once more after `SECOND_LOOK_S`. Raises Refused when it still
    should be, unless `force`; until then nothing but facts has been read on any host.
    """
    names = [host.name for host in conduct.fleet.hosts]
    previous = {name: conduct.store.previous_facts(conduct.run_id, name) for name in names}
    _look(conduct, names)
    judged = _judge(conduct, previous)
    doubtful = [name for name, found in judged.items() if found.refusals]
    if doubtful and not force:
        text = f"not fit to be measured now; looking again in {SECOND_LOOK_S:.0f} s"
        conduct.listener(Note("info", ", ".join(doubtful), text))
        conduct.stop.wait(SECOND_LOOK_S)
        _look(conduct, doubtful)
        judged = _judge(conduct, previous)
    for note in notes(judged, force=force):
        conduct.listener(note)
    if not force:
        refuse(judged, conduct.run_id)


def _look(conduct: Conduct, names: Collection[str]) -> None:
    found = take_host_facts(
        conduct.fleet, conduct.store, conduct.run_id, conduct.plan, "before", conduct.listener, only=names
    )
    conduct.facts.update(found)


def _judge(conduct: Conduct, previous: Mapping[str, Fingerprint | None]) -> dict[str, Preflight]:
    return {
        name: judge_host(found, previous=previous.get(name), rules=conduct.thresholds.preflight)
        for name, found in sorted(conduct.facts.items())
    }


def notes(judged: Mapping[str, Preflight], *, force: bool) -> Iterator[Note]:
    """Yield one note for each host with what is wrong there, refusals apart unless they are overruled."""
    for name, found in judged.items():
        warned = [item for item in found.findings if force or item.severity is not Severity.REFUSE]
        if warned:
            yield Note("warning", name, "; ".join(map(_said, warned)))


def _said(finding: Finding) -> str:
    overruled = finding.severity is Severity.REFUSE
    return f"{finding.sentence} (measured all the same: --force)" if overruled else finding.sentence


def refuse(judged: Mapping[str, Preflight], run_id: str) -> None:
    """Raise Refused with every host that is not fit, what was seen there, and what helps."""
    bad = {name: found.refusals for name, found in judged.items() if found.refusals}
    if not bad:
        return
    said = [f"{name}: {finding.sentence}" for name, findings in bad.items() for finding in findings]
    # Each rule may end in the words that are said once, at the end.
    hints = [finding.hint.removesuffix(_FORCE) for findings in bad.values() for finding in findings]
    hints += [f"then: perfctl resume {run_id}" + _FORCE]
    raise Refused(
        "\n".join(["not fit to be measured", *said]), hint="; ".join(dict.fromkeys(filter(None, hints)))
    )
