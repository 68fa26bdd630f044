"""Read facts inside an environment through any Shell: one POSIX sh command, and no Python there."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from perfctl.errors import OutputError
from perfctl.facts.raw import RawFacts, RawFile, RawOutput, RawProgram, state_of_message, text_of
from perfctl.facts.request import Command, Request
from perfctl.model import FactState
from perfctl.shell import Completed, Shell

_BETWEEN_WORDS = "\x1f"
_NOT_READ = 126
"""From this exit code on, what reads files was not there or was ended."""


class NoShell(OutputError):
    """There is no `sh` to read facts with."""


def _script() -> str:
    # Comments stay in the repository: the script travels with every reading.
    text = Path(__file__).with_name("inside.sh").read_text()
    return re.sub(r"^\s*#.*\n|^\n", "", text, flags=re.MULTILINE)


_SCRIPT = _script()


def read_raw(shell: Shell, request: Request, *, timeout_s: float) -> RawFacts:
    """Return what is inside. Raises OutputError (NoShell), CommandTimeout, and what the shell raises."""
    mark = f"perfctl-{secrets.token_hex(16)}"
    return parse_answer(shell.run(inside_argv(request, mark), timeout_s=timeout_s), request, mark)


def inside_argv(request: Request, mark: str) -> list[str]:
    """Return the command that prints what is asked for, each part after `mark`, which must be random."""
    words = (
        " ".join(request.files),
        " ".join(request.listed),
        ",".join(request.cgroup_files),
        " ".join(request.variables),
        " ".join(request.programs),
    )
    commands = [line for command in request.commands for line in _lines(command)]
    return ["sh", "-c", _SCRIPT, "perfctl-facts", mark, *words, *commands]


def _lines(command: Command) -> Iterator[str]:
    # All of a chain: each is quickly done.
    for one in command.chain:
        yield _BETWEEN_WORDS.join([one.key, *one.argv])


def parse_answer(done: Completed, request: Request, mark: str) -> RawFacts:
    """Return what the command printed.

    Raises NoShell where it could not begin, OutputError when it is cut short or mixed with other output:
    facts that were not read must not pass for facts that are missing.
    """
    parts = _parts(done, mark)
    _check([head for head, _, _ in parts if not head.startswith("code ")], request)
    outputs: dict[str, RawOutput] = {}
    programs = {name: RawProgram(None) for name in request.programs}
    variables: dict[str, str] = {}
    there: tuple[str, ...] = ()
    files: Mapping[str, tuple[RawFile, ...]] = {}
    unread = FactState.MISSING
    for number, (head, stdout, stderr) in enumerate(parts):
        kind, _, rest = head.partition(" ")
        if kind == "output":
            outputs[rest] = RawOutput(_code(parts, number), stdout, stderr)
        elif kind == "program":
            name, _, path = rest.partition(" ")
            programs[name] = _program(path, RawOutput(_code(parts, number), stdout, stderr))
        elif kind == "variable":
            variables[rest] = text_of(stdout)
        elif kind == "listed":
            there = tuple(text_of(stdout).splitlines())
        elif kind == "files":
            whole = _code(parts, number) < _NOT_READ
            files = _files(request, stdout, stderr, is_whole=whole)
            # They may well be there; what would read them is not, or was ended.
            unread = FactState.MISSING if whole else FactState.DENIED
    return RawFacts(files, there, variables, outputs, programs, unread)


def _parts(done: Completed, mark: str) -> list[tuple[str, bytes, bytes]]:
    """Return each part's head, and what was printed in it on both streams. Raises OutputError."""
    start = f"\n{mark} ".encode()
    both = [
        [part.partition(b"\n")[::2] for part in stream.split(start)[1:]]
        for stream in (done.stdout, done.stderr)
    ]
    heads = [[text_of(head) for head, _ in parts] for parts in both]
    if done.exit_code in (126, 127) and not any(heads):
        raise NoShell(f"facts need a POSIX shell: {done.last_output}")
    if not heads[0] or heads[0][-1] != "end" or both[0][-1][1]:
        reason = "" if done.exit_code == 0 else f": exit code {done.exit_code}, {done.last_output}"
        raise OutputError(f"the facts are cut short after {len(heads[0])} parts{reason}")
    if heads[0] != heads[1]:
        raise OutputError("the facts are damaged: standard output and error do not belong together")
    return [
        (head, stdout, stderr)
        for head, (_, stdout), (_, stderr) in zip(heads[0], both[0], both[1], strict=True)
    ]


def _check(heads: Sequence[str], request: Request) -> None:
    """Raise OutputError when something that was asked for is not there, or is there twice."""
    wanted = [f"output {one.key}" for command in request.commands for one in command.chain]
    left_out = {*wanted, "listed", "files"} - {*heads}
    if left_out or len({*heads}) != len(heads):
        what = min(left_out) if left_out else next(head for head in heads if heads.count(head) > 1)
        raise OutputError(
            f"the facts are damaged: {what[:80]!r} is {'missing' if left_out else 'twice there'}"
        )


def _code(parts: Sequence[tuple[str, bytes, bytes]], number: int) -> int:
    """Return the exit code in the part after this one. Raises OutputError."""
    word, _, code = parts[number + 1][0].partition(" ") if number + 1 < len(parts) else ("", "", "")
    if word != "code" or not re.fullmatch(r"[0-9]{1,3}", code):
        raise OutputError(f"the facts are damaged after {parts[number][0][:80]!r}")
    return int(code)


def _program(path: str, digest: RawOutput) -> RawProgram:
    match = re.match(rb"\\?([0-9a-f]{64}) ", digest.stdout)
    return RawProgram(path, match[1].decode() if match else None, digest.state)


# ---- files ---------------------------------------------------------------------------------------------


def _files(
    request: Request, stdout: bytes, stderr: bytes, *, is_whole: bool
) -> Mapping[str, tuple[RawFile, ...]]:
    """Return the files in what grep printed: lines 'path:text', and 'grep: path: why' on stderr."""
    lines = [line for line in stdout.removesuffix(b"\n").split(b"\n") if b":" in line]
    groups = [line.partition(b":")[2] for line in lines if line.startswith(b"/proc/self/cgroup:")]
    own = [*_own_cgroup_files(groups, request.cgroup_files)]
    # Engines give groups names such as 'cri-containerd:1'.
    with_colon = tuple(f"{path}:".encode() for path in own if ":" in path)
    contents: dict[str, list[bytes]] = {}
    for line in lines:
        start = next((start for start in with_colon if line.startswith(start)), b"")
        path, _, text = (start[:-1], b":", line[len(start) :]) if start else line.partition(b":")
        contents.setdefault(text_of(path), []).append(text + b"\n")
    read = [RawFile(path, b"".join(texts)) for path, texts in contents.items()]
    read += list(_errors(stderr))
    by_path = {file.path: file for file in read}
    found: dict[str, tuple[RawFile, ...]] = {}
    for pattern in (*request.files, *own):
        if "*" in pattern:
            fits = re.compile(_expression(pattern))
            found[pattern] = tuple(file for file in read if file.path == pattern or fits.fullmatch(file.path))
        elif pattern in by_path:
            found[pattern] = (by_path[pattern],)
        elif is_whole:
            # Of an empty file nothing is printed, and nothing is wrong.
            found[pattern] = (RawFile(pattern, b""),)
    return found


def _errors(stderr: bytes) -> Iterator[RawFile]:
    for line in text_of(stderr).split("\n"):
        match = re.fullmatch(r"grep: (.+): ([^:]*)", line)
        if match:
            yield RawFile(match[1], None, state_of_message(match[2]))


def _expression(pattern: str) -> str:
    """Return a pattern of file names as a regular expression."""
    words = {"*": "[^/]*", "[!": "[^", "[": "[", "]": "]"}
    parts = re.split(r"(\*|\[!|\[|\])", pattern)
    return "".join(words.get(part, re.escape(part) if part != "0-9" else part) for part in parts)


def _own_cgroup_files(lines: Iterable[bytes], names: Iterable[str]) -> Iterator[str]:
    """Yield the paths that CONTROLLER/FILE of the own control group has; version 2 is the controller '.'."""
    for line in lines:
        _, _, rest = text_of(line).partition(":")
        controllers, _, group = rest.partition(":")
        for controller in (controllers or ".").split(",") if group.strip("/") else ():
            for name in names:
                if name.partition("/")[0] == controller:
                    yield f"/sys/fs/cgroup/{controller}{group.rstrip('/')}/{name.partition('/')[2]}"
