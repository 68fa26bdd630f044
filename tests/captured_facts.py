"""Captured facts of real hosts, as fingerprints, as files and outputs, and as answers of an environment."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perfctl.facts.raw import RawFacts, RawFile, RawOutput
from perfctl.facts.sources import Links
from perfctl.model import Fact, FactState, Fingerprint
from perfctl.shell import Completed

DATA = Path(__file__).parent / "data" / "facts"
HOSTS = tuple(sorted(path.parent.name for path in DATA.glob("*/facts.json")))
"""Where all facts of a place were kept."""
PARSED = tuple(sorted(path.parent.name for path in DATA.glob("parsers/*/source.json")))
"""Files and outputs, each with the facts that are in it."""


def rows_of(host: str) -> list[tuple[str, str, str]]:
    """Return name, state and text of every fact of a captured host."""
    return [(str(name), str(state), str(text)) for name, state, text in _json(DATA / host / "facts.json")]


def fingerprint_of(host: str) -> Fingerprint:
    """Return the facts of a captured host."""
    return Fingerprint(tuple(Fact(name, FactState(state), text) for name, state, text in rows_of(host)))


def source_of(case: str) -> dict[str, Any]:
    """Return where the files or the output of a case were read."""
    source: dict[str, Any] = _json(DATA / "parsers" / case / "source.json")
    return source


def expected_of(case: str) -> dict[str, Any]:
    """Return the facts that are in a case: the text of one that is present, else {"state": ...}."""
    expected: dict[str, Any] = _json(DATA / "parsers" / case / "expected.json")
    return expected


def content_of(case: str) -> bytes:
    """Return the file or the output of a case."""
    return (DATA / "parsers" / case / "content").read_bytes()


def raw_of(case: str) -> RawFacts:
    """Return the files or the output of a case as they come from a host."""
    folder, source = DATA / "parsers" / case, source_of(case)
    if "path" in source:
        path = source["path"]
        return RawFacts({path: (RawFile(path, content_of(case)),)})
    if "argv" in source:
        stderr = folder / "stderr"
        output = RawOutput(
            source["exit_code"], content_of(case), stderr.read_bytes() if stderr.exists() else b""
        )
        return RawFacts({}, outputs={" ".join(source["argv"]): output})
    tree = folder / "tree"
    files = tuple(
        RawFile(f"/{path.relative_to(tree)}", path.read_bytes())
        for path in sorted(tree.rglob("*"), key=lambda path: bytes(path))
        if path.is_file()
    )
    if "pattern" in source:
        return RawFacts({source["pattern"]: files})
    patterns = Links().request.files
    return RawFacts(
        {
            pattern: tuple(file for file in files if file.path.endswith(pattern.rpartition("*")[2]))
            for pattern in patterns
        },
        there=source["listed"],
    )


def answer_inside(argv: Sequence[str]) -> Completed:
    """Return the answer of an environment where every program is found and nothing else can be read."""
    mark, programs, commands = argv[4], argv[9], argv[10:]
    heads = [part for name in programs.split() for part in (f"program {name} /usr/bin/{name}", "code 1")]
    keys = [command.split("\x1f")[0] for command in commands]
    heads += [part for key in keys for part in (f"output {key}", "code 127")]
    parts = "".join(f"\n{mark} {head}\n" for head in [*heads, "listed", "files", "code 127", "end"]).encode()
    return Completed(tuple(argv), 0, parts, parts)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
