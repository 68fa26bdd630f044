"""Attack runs on a lab of its own and print what was lost, doubled, left over or wrong (`make faults`).

    python -m tests.faults [--seed SEED] [--times N] [--only KIND] [--case N] [--keep-lab]

Two hosts are brought up and provisioned without guests. For each kind of attack a run of one-second
benchmarks is begun N times, attacked at a moment that is drawn from the seed, finished as its messages say,
and counted.
The exit code is 1 when any figure but `tried` is not 0. Needs root and the machine for itself.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import yaml

from perfctl.lab import LabRequest, down, up
from tests.faults.attacks import ATTACKS, Attack
from tests.faults.canaries import Canaries
from tests.faults.case import Case, Outcome
from tests.faults.table import table
from tests.lab import PROJECT, LabAtHand, write_dockerfile

REQUEST = LabRequest("perfctl-faults", 2, False, "172.31.237.0/24", "10.237.0.0/16")
FOLDER = PROJECT / "faults"
"""Folders of cases with findings stay here until the next campaign."""
TIMES = 3
_PROVISION_TIMEOUT_S = 1500


def bring_up() -> LabAtHand:
    """Return the campaign's lab, up and provisioned: no guests, and both hosts measure at the same time."""
    lab = up(PROJECT, REQUEST)
    inventory = yaml.safe_load(lab.inventory.read_text())
    variables = inventory["all"]["vars"]
    for name in ("perf_resource", "perf_vm_host", "perf_vm_host_storage"):
        del variables[name]
    variables["perf_image_dockerfile"] = str(write_dockerfile())
    path = FOLDER / "hosts.yml"
    path.write_text(yaml.safe_dump(inventory))
    at_hand = LabAtHand(PROJECT, path, tuple(member.name for member in lab.members))
    done = at_hand.perfctl("provision", timeout_s=_PROVISION_TIMEOUT_S)
    if done.returncode:
        raise SystemExit(f"perfctl provision exited {done.returncode}\n{done.stdout}{done.stderr}")
    return at_hand


def campaign(lab: LabAtHand, cases: list[Case]) -> list[Outcome]:
    """Execute all cases, one after another, and print of each what became of it."""
    canaries = Canaries.put(FOLDER / "secrets", lab.inventory)
    outcomes = []
    for case in cases:
        folder = FOLDER / f"{case.attack.name}-{case.number}"
        start = time.monotonic()
        outcome = case.execute(lab, canaries, folder)
        outcomes.append(outcome)
        tell(outcome, time.monotonic() - start)
        if outcome.is_clean:
            shutil.rmtree(folder)
        else:
            print(f"  kept: {folder}", flush=True)
    return outcomes


def tell(outcome: Outcome, took_s: float) -> None:
    """Print one case's line, and its findings below."""
    when = f"attacked at {outcome.moment_s:.1f} s" if outcome.was_attacked else "over before its moment"
    codes = ", ".join(command.rpartition(" ")[2] for command in outcome.commands)
    found = "clean" if outcome.is_clean else "NOT CLEAN"
    print(
        f"{outcome.attack} {outcome.number}: {found}, {when}, exit codes {codes}, {took_s:.0f} s", flush=True
    )
    for name, sentences in outcome.findings.items():
        for sentence in sentences:
            print(f"  {name.replace('_', ' ')}: {sentence}", flush=True)


def chosen(only: list[str] | None, times: int, number: int | None, seed: str) -> list[Case]:
    """Return the cases that were asked for."""
    attacks: list[Attack] = [attack for attack in ATTACKS if not only or attack.name in only]
    numbers = [number] if number else range(1, times + 1)
    return [Case(attack, each, seed) for attack in attacks for each in numbers]


def main() -> int:
    """Run the campaign, and return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", default=str(random.SystemRandom().randrange(10**6)))
    parser.add_argument("--times", type=int, default=TIMES, help=f"cases of each kind (default {TIMES})")
    parser.add_argument("--only", action="append", metavar="KIND", choices=[each.name for each in ATTACKS])
    parser.add_argument("--case", type=int, metavar="N", help="only the Nth case of each kind")
    parser.add_argument("--keep-lab", action="store_true", help="leave the lab up for the next campaign")
    given = parser.parse_args()
    # Whatever ends it, the attack in work is undone; in the background a shell has Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"seed {given.seed}", flush=True)
    print(f"one case again: python -m tests.faults --seed {given.seed} --only KIND --case N", flush=True)
    shutil.rmtree(FOLDER, ignore_errors=True)
    Path(FOLDER).mkdir(parents=True)
    start = time.monotonic()
    try:
        outcomes = campaign(bring_up(), chosen(given.only, given.times, given.case, given.seed))
    finally:
        if not given.keep_lab:
            down(PROJECT, REQUEST.name)
    print(f"\n{table(outcomes)}\n\nseed {given.seed}, {(time.monotonic() - start) / 60:.0f} min")
    return int(any(not outcome.is_clean for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
