"""One case's project: a suite, a database, an inventory with secrets, and all commands run in it."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.canaries import Canaries
from tests.faults.counting import Leg
from tests.lab import REPOSITORY, LabAtHand

MARKER_VARIABLE = "PERFCTL_FAULT_CASE"
"""All commands of a case and what they start here have it in their environment."""
WAIT_S = 300.0
"""A command that takes longer hangs."""
_END_S = 30.0

SUITE = """\
[suite]
name = "faults"
description = "One-second benchmarks on hosts and on the pair, for attacks."
baseline = "native"
environments = ["native", "container"]
blocks = {blocks}
"""
BENCHMARKS = {
    "cpu": """
[[benchmark]]
name = "cpu"
workload = "sysbench"
parameters = { test = "cpu", threads = 1, time_s = 1 }
""",
    "rr": """
[[benchmark]]
name = "rr"
workload = "netperf"
parameters = { test = "TCP_RR", time_s = 1 }
""",
}
_LEGS = (("native", 1), ("native", 2), ("container", 1))


@dataclass
class Command:
    """A command that was started, and its two streams in files."""

    argv: list[str]
    process: subprocess.Popen[bytes]
    folder: Path
    is_hung: bool = False

    @property
    def exit_code(self) -> int | None:
        """As Popen has it: -9 for one that was killed; None while it runs."""
        return self.process.poll()

    @property
    def stderr(self) -> str:
        """What it has printed on standard error so far."""
        return (self.folder / "stderr").read_text(errors="replace")

    def ends_within(self, seconds: float) -> bool:
        """Wait for its end, and return whether it came."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=max(0.0, seconds))
        return self.exit_code is not None

    def wait(self, timeout_s: float = WAIT_S) -> Command:
        """Wait for its end; one that does not end is killed, and is known as hung."""
        if not self.ends_within(timeout_s):
            self.is_hung = True
            self.process.kill()
            self.process.wait(timeout=_END_S)
        return self

    def advised_resume(self) -> list[str] | None:
        """Return the arguments of the last `perfctl resume` that it printed, None when it printed none."""
        found = re.findall(r"perfctl (resume [0-9a-f-]{36}[^\n;)]*)", self.stderr)
        return shlex.split(found[-1]) if found else None

    def __str__(self) -> str:
        words = self.argv[self.argv.index("perfctl") + 1 :] if "perfctl" in self.argv else self.argv
        return f"perfctl {' '.join(words)}"


@dataclass
class Scene:
    """A folder with all of one case; commands get its database and inventory as options."""

    folder: Path
    lab: LabAtHand
    canaries: Canaries
    blocks: int = 1
    benchmarks: Sequence[str] = ("cpu", "rr")
    marker: str = field(default_factory=lambda: secrets.token_hex(16))
    commands: list[Command] = field(default_factory=list)
    let_in: list[str] = field(default_factory=list)
    """Who was seen to change hosts that the run still measured."""

    def __post_init__(self) -> None:
        self.temporary.mkdir(parents=True)
        self.database.parent.mkdir()
        text = SUITE.format(blocks=self.blocks) + "".join(BENCHMARKS[name] for name in self.benchmarks)
        self.suite.write_text(text)

    @property
    def suite(self) -> Path:
        """The suite that is run."""
        return self.folder / "faults.toml"

    @property
    def database(self) -> Path:
        """The database of the run that is attacked, in a folder of its own."""
        return self.folder / "database" / "results.db"

    @property
    def other_database(self) -> Path:
        """The database of a second controller."""
        return self.folder / "other" / "results.db"

    @property
    def temporary(self) -> Path:
        """Where commands put temporary files."""
        return self.folder / "tmp"

    @property
    def environ(self) -> dict[str, str]:
        """The environment of all commands."""
        return {
            **os.environ,
            **self.canaries.environ,
            MARKER_VARIABLE: self.marker,
            "PERFCTL_FORCE": "1",
            "TMPDIR": str(self.temporary),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "PYTHONPATH": str(REPOSITORY),
        }

    def planned(self) -> set[Leg]:
        """Return the invocations that the suite asks for, without asking perfctl."""
        targets = {"cpu": sorted(self.lab.hosts), "rr": ["->".join(sorted(self.lab.hosts))]}
        return {
            Leg(benchmark, target, block, environment, replicate)
            for benchmark in self.benchmarks
            for target in targets[benchmark]
            for block in range(self.blocks)
            for environment, replicate in _LEGS
        }

    def start(self, *arguments: str, database: Path | None = None) -> Command:
        """Start perfctl with this case's database and inventory."""
        options = ["--db", str(database or self.database), "-i", str(self.canaries.inventory)]
        return self._start([*options, *arguments])

    def start_as_printed(self, arguments: Sequence[str]) -> Command:
        """Start perfctl with the arguments that a message has, and no others."""
        return self._start(list(arguments))

    def run(self, *arguments: str, database: Path | None = None, timeout_s: float = WAIT_S) -> Command:
        """Run perfctl to its end."""
        return self.start(*arguments, database=database).wait(timeout_s)

    def start_run(self, *, database: Path | None = None) -> Command:
        """Start the run of the suite."""
        return self.start("run", "--suite", str(self.suite), database=database)

    def end_all(self) -> None:
        """Kill what is still running."""
        for command in self.commands:
            if command.exit_code is None:
                command.process.send_signal(signal.SIGTERM)
                command.wait(_END_S)

    def _start(self, arguments: list[str]) -> Command:
        folder = self.folder / "commands" / f"{len(self.commands) + 1:02}"
        folder.mkdir(parents=True)
        # This may have been started in the background, where a shell has its children ignore Ctrl-C.
        argv = ["env", "--default-signal=INT", sys.executable, "-m", "perfctl", *arguments]
        (folder / "argv").write_text(shlex.join(argv[2:]) + f"\n{time.strftime('%T')}\n")
        with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
            process = subprocess.Popen(
                argv,
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )
        command = Command(argv, process, folder)
        self.commands.append(command)
        return command
