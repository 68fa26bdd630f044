"""One case: run, attack at a drawn moment, do what the messages say, and count what is wrong then."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.faults import counting, leftovers
from tests.faults.attacks import Attack
from tests.faults.canaries import Canaries, ProcessWatch
from tests.faults.scene import Command, Scene
from tests.lab import LabAtHand

FAULTS = (
    "lost",
    "doubled",
    "left_over",
    "false_complete",
    "measured_by_two",
    "secrets",
    "wrong_endings",
)
"""What is counted, besides `tried`; of each the target is 0."""
_MOST_ATTEMPTS = 4
_KILLED = -9
_REFUSED = 6
_NOTHING_LEFT = "nothing is left to do"


@dataclass
class Outcome:
    """What became of one case: findings are sentences, by what they count for."""

    attack: str
    number: int
    moment_s: float
    tried: int
    was_attacked: bool = True
    commands: list[str] = field(default_factory=list)
    findings: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in FAULTS})

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not any(self.findings.values())


@dataclass(frozen=True)
class Case:
    """An attack with its number and the seed that decides when and how; two of the same are alike."""

    attack: Attack
    number: int
    seed: str
    blocks: int = 1
    benchmarks: Sequence[str] = ("cpu", "rr")

    def execute(self, lab: LabAtHand, canaries: Canaries, folder: Path) -> Outcome:
        """Do it on the hosts of a provisioned lab, in a folder that does not exist yet."""
        chance = random.Random(f"{self.seed}/{self.attack.name}/{self.number}")
        moment_s = chance.uniform(self.attack.earliest_s, self.attack.latest_s)
        scene = Scene(folder, lab, canaries, self.blocks, self.benchmarks)
        planned = set() if self.attack.command else scene.planned()
        outcome = Outcome(self.attack.name, self.number, moment_s, len(planned))
        look = partial(_left, scene)
        watch = ProcessWatch(canaries)
        try:
            with self.attack.prepare(scene):
                before = look()
                with watch.watching():
                    self._attack(scene, planned, outcome, chance)
                outcome.findings["measured_by_two"] += scene.let_in
                outcome.findings["lost"] += counting.missing_legs(scene.database, planned)
                _count(scene, outcome)
                outcome.findings["left_over"] += leftovers.left_over(look, before)
                outcome.findings["secrets"] += [*watch.found, *_stored_secrets(scene)]
        finally:
            scene.end_all()
        outcome.commands = [f"{command}: exit code {command.exit_code}" for command in scene.commands]
        return outcome

    def _attack(
        self, scene: Scene, planned: set[counting.Leg], outcome: Outcome, chance: random.Random
    ) -> None:
        """Begin, attack, and do what the messages say until nothing is left to do."""
        command = scene.start(*self.attack.command) if self.attack.command else scene.start_run()
        outcome.was_attacked = not command.ends_within(outcome.moment_s)
        if outcome.was_attacked:
            with self.attack.harm(scene, command, chance):
                _judge_seconds(scene, command, outcome)
                command.wait()
                _judge(scene, command, planned, outcome)
                outcome.findings["secrets"] += _secrets_on_hosts(scene)
        if command.exit_code not in self.attack.exit_codes:
            outcome.findings["wrong_endings"].append(f"{command} ended with {command.exit_code}")
        for cure in self.attack.cures if counting.run_statuses(scene.database) else ():
            cured = scene.run(*cure)
            if cured.exit_code or cured.is_hung:
                outcome.findings["wrong_endings"].append(f"{cured} ended with {cured.exit_code}")
        self._finish(scene, command, planned, outcome, chance)

    def _finish(
        self,
        scene: Scene,
        command: Command,
        planned: set[counting.Leg],
        outcome: Outcome,
        chance: random.Random,
    ) -> None:
        for attempt in range(_MOST_ATTEMPTS):
            if command.exit_code == 0 or _NOTHING_LEFT in command.stderr:
                return
            command = self._next(scene, command, outcome)
            if self.attack.kills_resume and attempt == 0:
                command.ends_within(chance.uniform(self.attack.earliest_s, self.attack.latest_s))
                command.process.kill()
            command.wait()
            _judge(scene, command, planned, outcome)
        outcome.findings["wrong_endings"].append(
            f"after {_MOST_ATTEMPTS} more commands {command} ended with {command.exit_code}"
        )

    def _next(self, scene: Scene, command: Command, outcome: Outcome) -> Command:
        """Start what a user would: what was printed, the same where nothing was begun, else resume."""
        if self.attack.command:
            return scene.start(*self.attack.command)
        if not counting.run_statuses(scene.database):
            return scene.start_run()
        advised = command.advised_resume()
        if advised:
            return scene.start_as_printed(advised)
        if command.exit_code not in (_KILLED, _REFUSED):
            outcome.findings["wrong_endings"].append(
                f"{command} ended with {command.exit_code} and printed no resume"
            )
        return scene.start("resume", "latest")


def _judge_seconds(scene: Scene, command: Command, outcome: Outcome) -> None:
    """Find a second controller that was let in while the first one was there, and what it calls complete."""
    others = [each for each in scene.commands if each is not command]
    if others and all(other.exit_code == 0 and "--steal" not in other.argv for other in others):
        # Let in because the first one was over: nothing was tried.
        outcome.was_attacked = command.exit_code is None
    for other in others:
        if other.exit_code == 0 and command.exit_code is None and "--steal" not in other.argv:
            outcome.findings["measured_by_two"].append(f"{other} was not refused beside {command}")
        if other.exit_code not in (0, _REFUSED) or other.is_hung:
            outcome.findings["wrong_endings"].append(f"{other} ended with {other.exit_code}")
        if other.exit_code == 0 and str(scene.other_database) in other.argv:
            _judge_complete(other, scene.other_database, scene.planned(), outcome)


def _judge(scene: Scene, command: Command, planned: set[counting.Leg], outcome: Outcome) -> None:
    if command.is_hung:
        outcome.findings["wrong_endings"].append(f"{command} did not end")
    if "Traceback" in command.stderr:
        outcome.findings["wrong_endings"].append(f"{command} printed a traceback")
    _judge_complete(command, scene.database, planned, outcome)


def _judge_complete(command: Command, database: Path, planned: set[counting.Leg], outcome: Outcome) -> None:
    """Note when a command says that all is there and it is not."""
    missing = counting.missing_legs(database, planned)
    if missing and (command.exit_code == 0 or counting.run_statuses(database)[-1:] == ["complete"]):
        outcome.findings["false_complete"].append(
            f"{command} ended with {command.exit_code} as if complete; {len(missing)} missing: {missing[0]}"
        )


def _count(scene: Scene, outcome: Outcome) -> None:
    databases = [scene.database, scene.other_database]
    for database in databases:
        lost, doubled = counting.unequal_samples(database)
        outcome.findings["lost"] += lost
        outcome.findings["doubled"] += [*doubled, *counting.doubled_legs(database)]
    outcome.findings["measured_by_two"] += counting.overlaps(databases)


def _left(scene: Scene) -> set[str]:
    return leftovers.on_hosts(scene.lab.hosts) | leftovers.here(scene.marker, scene.temporary)


def _secrets_on_hosts(scene: Scene) -> list[str]:
    return [sentence for host in scene.lab.hosts for sentence in scene.canaries.on_host(host)]


def _stored_secrets(scene: Scene) -> list[str]:
    found = scene.canaries.in_files(scene.folder) + _secrets_on_hosts(scene)
    for database in (scene.database, scene.other_database):
        found += scene.canaries.in_artifacts(database)
    return found
