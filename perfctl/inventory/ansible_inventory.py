"""Run ansible-inventory --list, and cache what it printed.

It costs about half a second of CPU; its output is kept under the user's cache folder as long as nothing it
was made from has changed. What is dynamic (plugins, scripts) or secret (vault, passwords) is never kept.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perfctl.errors import UsageError
from perfctl.inventory import cache
from perfctl.model import is_deeper
from perfctl.redaction import is_secret_name, redact

_TIMEOUT_S = 120.0
VAULT_HINT = (
    "give the vault password: ANSIBLE_VAULT_PASSWORD_FILE=FILE perfctl ..., for every command;"
    " provision and verify also take ... -- --vault-password-file FILE"
)
"""`run` and `resume` pass no options on to Ansible; its environment variables count everywhere."""

_WITH_VALUE = ("--vault-id", "--vault-password-file", "--vault-pass-file", "-e", "--extra-vars")
_ALONE = ("-J", "--ask-vault-password", "--ask-vault-pass")
_UNMATCHED = re.compile(r"Could not match supplied host pattern, ignoring: (\S+)")


@dataclass(frozen=True, slots=True)
class Listing:
    """What `ansible-inventory --list` printed: groups, the --limit patterns it ignored, its warnings."""

    groups: Mapping[str, Any]
    """By name, with `_meta` for the variables of hosts."""
    unmatched: tuple[str, ...]
    warnings: str


def list_inventory(sources: Sequence[str], *, limit: str | None, passthrough: Sequence[str]) -> Listing:
    """Return the output of `ansible-inventory --list`. Raises UsageError with Ansible's message."""
    program = find_program("ansible-inventory")
    arguments = [part for source in sources for part in ("-i", source)]
    arguments += ["--list", *(["--limit", limit] if limit else []), *inventory_options(passthrough)]
    key = cache.key_for(program, arguments, sources) if not passthrough else None
    kept = cache.load(key) if key else None
    if kept is not None:
        return _parse(kept, sources)
    done = _run(program, arguments, sources)
    listing = _parse(done, sources)
    if key and not cache.has_secret(listing.groups):
        cache.save(key, done)
    return listing


def find_program(name: str) -> str:
    """Return the path of one of Ansible's programs, the one beside our Python first. Raises UsageError."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise UsageError(
            f"{name} is not installed", hint="install perfctl with its dependencies (ansible-core)"
        )
    return found


def environment() -> dict[str, str]:
    """Return the variables for Ansible's programs: our own folder first on PATH, UTF-8, strict parsing."""
    values = dict(os.environ)
    # Ansible refuses a locale that is not installed (LC_ALL often comes by ssh) or not UTF-8.
    values["LC_ALL"] = "C.UTF-8"
    values["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), values.get("PATH", os.defpath)])
    values["ANSIBLE_NOCOLOR"] = "1"
    # A source that cannot be read would else leave its hosts out with a mere warning.
    values.setdefault("ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED", "1")
    return values


def inventory_options(passthrough: Sequence[str]) -> list[str]:
    """Return those of ansible-playbook's options that ansible-inventory has too: vault, extra variables."""
    kept: list[str] = []
    rest = iter(passthrough)
    for option in rest:
        if option in _WITH_VALUE:
            kept += [option, next(rest, "")]
        elif option in _ALONE or option.partition("=")[0] in _WITH_VALUE:
            kept.append(option)
    return kept


def _run(program: str, arguments: Sequence[str], sources: Sequence[str]) -> cache.Kept:
    where = ", ".join(sources)
    try:
        done = subprocess.run(
            [program, *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=_TIMEOUT_S,
            check=False,
            env=environment(),
        )
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"ansible-inventory did not end within {_TIMEOUT_S:g} s", where=where) from error
    except (OSError, ValueError) as error:
        raise UsageError(f"ansible-inventory does not start: {error}", where=where) from error
    if done.returncode != 0:
        raise _refusal(done.stderr, arguments, sources)
    return cache.Kept(done.stdout, done.stderr)


def _parse(kept: cache.Kept, sources: Sequence[str]) -> Listing:
    where = ", ".join(sources)
    try:
        groups = json.loads(kept.stdout)
    except (ValueError, RecursionError) as error:
        raise UsageError("ansible-inventory printed something else than JSON", where=where) from error
    if is_deeper(groups, _MOST_LEVELS):
        hint = f"at most {_MOST_LEVELS} levels of lists and mappings can be read"
        raise UsageError("a variable is nested too deeply", where=where, hint=hint)
    if not _is_listing(groups):
        raise UsageError("ansible-inventory printed something else than groups and hosts", where=where)
    unmatched = tuple(dict.fromkeys(_UNMATCHED.findall(kept.stderr)))
    return Listing(groups, unmatched, _without_sources(kept.stderr.strip(), sources))


_MOST_LEVELS = 100
"""Of lists and mappings in a variable."""


def _is_listing(groups: Any) -> bool:
    """Return whether JSON has the shape that `ansible-inventory --list` gives it."""
    if not isinstance(groups, dict) or not all(isinstance(content, dict) for content in groups.values()):
        return False
    hostvars = groups.get("_meta", {}).get("hostvars", {})
    names = [content.get(key, []) for content in groups.values() for key in ("hosts", "children")]
    return (
        isinstance(hostvars, dict)
        and all(isinstance(variables, dict) for variables in hostvars.values())
        and all(isinstance(found, list) and all(isinstance(n, str) for n in found) for found in names)
    )


def _ansible_message(stderr: str, sources: Sequence[str]) -> str:
    """Return Ansible's error message without its labels and repetitions, and without secrets."""
    text = _without_sources(stderr, sources)
    lines = [re.sub(r"^\[?(ERROR|WARNING)[]!]*:? *", "", line).strip() for line in text.splitlines()]
    unique = dict.fromkeys(line for line in lines if line and line != "<<< caused by >>>")
    # A secret that is cut in two would no longer be found.
    return redact("; ".join(unique))[:1000] or "ansible-inventory failed without output"


def _without_sources(message: str, sources: Sequence[str]) -> str:
    """Return a message of Ansible's without the lines that it quotes of a file, and without any secret's.

    An inventory that cannot be read has no variables yet, so their values are looked for in its files.
    """
    secrets = {word for path in _text_files(sources) for word in _secret_words(path)}
    kept = []
    for line in message.splitlines():
        if not _QUOTED_LINE.match(line):
            is_secret = any(word in line for word in secrets)
            kept.append("(a line with the value of a secret is left out)" if is_secret else line)
    return "\n".join(kept)


_NAMED = re.compile(r"(?<![\w-])[\w-]++(?=['\"]?\s*[=:])")
"""A name with a value behind it; it begins where a word begins, or long lines would take for ever."""
_QUOTED_LINE = re.compile(r"\s*\d+ |\s*\^ column \d+|\.\.\. ")
_MOST_BYTES = 1 << 20


def _text_files(sources: Sequence[str]) -> Iterator[Path]:
    for source in map(Path, sources):
        folders = [source] if source.is_dir() else [source.parent / "group_vars", source.parent / "host_vars"]
        yield from (path for path in (source, *(p for f in folders for p in f.rglob("*"))) if path.is_file())


def _secret_words(path: Path) -> Iterator[str]:
    """Yield the words that follow names of secrets in a file, also where their block goes on."""
    with contextlib.suppress(OSError):
        if path.stat().st_size > _MOST_BYTES:
            return
        block: int | None = None
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            indent = len(line) - len(line.lstrip())
            if block is not None and line.strip() and indent <= block:
                block = None
            found = [line] if block is not None else []
            for name in _NAMED.finditer(line):
                if is_secret_name(name[0]):
                    found.append(line[name.end() :])
                    block = indent
            for text in found:
                yield from (word for word in re.split(r"[\s'\"=:,{}|>]+", text) if len(word) >= _SHORT_WORD)


_SHORT_WORD = 3
"""Characters of a word of a secret for which a whole line of Ansible's is left out."""


def _refusal(stderr: str, arguments: Sequence[str], sources: Sequence[str]) -> UsageError:
    """Return the error of an ansible-inventory that failed; a source with a comma is a list of hosts."""
    missing = [source for source in sources if "," not in source and not Path(source).expanduser().exists()]
    if missing:
        hint = "give the path of an inventory, or make a lab: perfctl lab up"
        return UsageError("there is no such inventory", where=", ".join(missing), hint=hint)
    hint = f"see how Ansible reads it: {shlex.join(('ansible-inventory', *arguments))}"
    if "vault" in stderr.lower():
        hint = VAULT_HINT
    return UsageError(_ansible_message(stderr, sources), where=", ".join(sources), hint=hint)
