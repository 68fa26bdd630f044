#!/usr/bin/python
# Runs on the managed host with the host's own Python: the standard library of 3.7 at most.
"""Add Debian's component non-free as a source of its own, and take it back when that does not help."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: perf_tools_non_free
short_description: Add Debian's component non-free as a source of its own
description:
  - Takes over every stanza of the host's own sources that has Debian's component main, with all its options,
    and replaces its components. A source of the same archive with another key or other options stops apt.
  - Runs C(apt-get update). When that fails, or no package is known afterwards that was not before, the
    source is taken back.
options:
  packages:
    description: Packages that apt does not know.
    type: list
    elements: str
    required: true
  path:
    description: The file to write; its name ends with C(.sources).
    type: path
    required: true
author: the perfctl authors
"""

EXAMPLES = r"""
- name: Take packages from non-free
  perf_tools_non_free:
    packages: [netperf]
    path: /etc/apt/sources.list.d/perfctl-non-free.sources
"""

RETURN = r"""
found:
  description: Those of the packages that apt knows now.
  type: list
  returned: always
"""

UPDATE_TIMEOUT_S = 900
READ_TIMEOUT_S = 60
MULTIPLE = {"arch": "Architectures", "lang": "Languages", "target": "Targets"}
"""Options of the one-line format that have another name in a stanza, where blanks separate their values."""
SAYS_NO = ("no", "false", "without", "off", "disable", "0")


class AptError(Exception):
    """apt failed; the message is apt's own."""


# -- sources as text -------------------------------------------------------------------------------


def stanzas_of_sources(text: str) -> list[Mapping[str, str]]:
    """Return the stanzas of a .sources file (deb822) as {field: value}; a value keeps its further lines."""
    found: list[Mapping[str, str]] = []
    for paragraph in re.split(r"\n(?:[ \t]*\n)+", text):
        stanza: dict[str, str] = {}
        name = ""
        for line in paragraph.splitlines():
            if line.startswith("#") or not line.strip():
                continue
            if line[0] not in " \t":
                name, _, value = line.partition(":")
                stanza[name] = value.strip()
            elif name:
                stanza[name] += "\n" + line
        if stanza:
            found.append(stanza)
    return found


def stanzas_of_list(text: str) -> list[Mapping[str, str]]:
    """Return the lines of a .list file that have components, as the stanzas that mean the same."""
    found: list[Mapping[str, str]] = []
    for line in text.splitlines():
        match = re.match(r"\s*(deb|deb-src)\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)\s+([^#]*[^#\s])", line)
        if match:
            kind, options, uri, suite, components = match.groups()
            stanza = {"Types": kind, "URIs": uri, "Suites": suite, "Components": components}
            stanza.update(field_of_option(option) for option in (options or "").split() if "=" in option)
            found.append(stanza)
    return found


def field_of_option(option: str) -> tuple[str, str]:
    """Return (field, value) of an option of the one-line format, for example arch=amd64 or arch-=i386."""
    name, _, value = option.partition("=")
    suffix = {"+": "-Add", "-": "-Remove"}.get(name[-1:], "")
    name = name[:-1] if suffix else name
    if name.lower() in MULTIPLE:
        return MULTIPLE[name.lower()] + suffix, value.replace(",", " ")
    return name.title() + suffix, value


def get(stanza: Mapping[str, str], name: str, default: str = "") -> str:
    """Return the value of a field; apt does not tell capitals in its name from small letters."""
    return next((value for field, value in stanza.items() if field.lower() == name.lower()), default)


def archive(uri: str) -> str:
    """Return a source's address in the one form in which two can be compared: no user, no extra slashes."""
    return re.sub(r"/+", "/", re.sub(r"//[^/@]*@", "//", uri)).rstrip("/")


def is_used(stanza: Mapping[str, str]) -> bool:
    """Return whether apt reads packages from a stanza."""
    return "deb" in get(stanza, "Types").split() and get(stanza, "Enabled", "yes").lower() not in SAYS_NO


def archives(stanza: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the (archive, suite) pairs of a stanza."""
    suites = get(stanza, "Suites").split()
    return [(archive(uri), suite) for uri in get(stanza, "URIs").split() for suite in suites]


def non_free(
    stanzas: Iterable[Mapping[str, str]], debian: Iterable[tuple[str, str]]
) -> list[Mapping[str, str]]:
    """Return the stanzas with the component non-free that are to be added.

    `debian` are the (archive, suite) pairs that come from Debian. Every other field is the host's own.
    """
    used = [stanza for stanza in stanzas if is_used(stanza)]
    wanted = set(debian)
    for stanza in used:
        if "non-free" in get(stanza, "Components").split():
            wanted -= set(archives(stanza))
    added: list[Mapping[str, str]] = []
    for stanza in used:
        if "main" not in get(stanza, "Components").split():
            continue
        uris_of: dict[tuple[str, ...], list[str]] = {}
        for uri in get(stanza, "URIs").split():
            suites = tuple(
                suite for suite in get(stanza, "Suites").split() if (archive(uri), suite) in wanted
            )
            wanted -= {(archive(uri), suite) for suite in suites}
            if suites:
                uris_of.setdefault(suites, []).append(uri)
        rest = {
            field: value
            for field, value in stanza.items()
            if field.lower() not in ("types", "uris", "suites", "components")
        }
        for suites, uris in uris_of.items():
            places = {"URIs": " ".join(uris), "Suites": " ".join(suites)}
            added.append({"Types": "deb", **places, "Components": "non-free", **rest})
    return added


def line_of(field: str, value: str) -> str:
    """Return a field as it is written; a value of several lines may begin on the next one."""
    return f"{field}:{value}\n" if value.startswith("\n") else f"{field}: {value}\n"


def text_of(stanzas: Iterable[Mapping[str, str]], packages: Sequence[str]) -> str:
    """Return the text of a .sources file with these stanzas, '' without any."""
    parts = ["".join(line_of(*item) for item in stanza.items()) for stanza in stanzas]
    head = f"# Written by perfctl, from this host's own sources, for: {' '.join(packages)}\n"
    return head + "\n".join(parts) if parts else ""


def debian_archives(listed: str) -> set[tuple[str, str]]:
    """Return the (archive, suite) pairs that are Debian's, in apt's lines of ORIGIN, ADDRESS and SUITE."""
    rows = [line.split() for line in listed.splitlines()]
    return {(archive(row[1]), row[2]) for row in rows if len(row) == 3 and row[0] == "Debian"}


def with_candidate(policy: str) -> set[str]:
    """Return the packages of which `apt-cache policy` names a version."""
    pairs = re.findall(r"^(\S+):\n(?:  .*\n)*?  Candidate: (\S+)", policy, re.M)
    return {name for name, candidate in pairs if not candidate.startswith("(")}


# -- this host -------------------------------------------------------------------------------------


def run(argv: Sequence[str], timeout_s: float = READ_TIMEOUT_S) -> str:
    """Return what a command of apt writes. Raises AptError with its complaints."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise AptError(f"{argv[0]} did not end in {timeout_s:g} s") from None
    output, errors = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    if done.returncode != 0:
        lines = (output + errors).splitlines()
        complaints = [line for line in lines if line.startswith(("E:", "W:", "Err:"))]
        raise AptError("\n".join(complaints or lines[-5:]))
    return output


def read_stanzas(own: Path) -> list[Mapping[str, str]]:
    """Return the stanzas of all files that apt reads, but for our own."""
    names = ["LIST", "Dir::Etc::sourcelist/f", "PARTS", "Dir::Etc::sourceparts/d"]
    places = dict(word.split("=", 1) for word in shlex.split(run(["apt-config", "shell", *names])))
    paths = [Path(places["LIST"])] if "LIST" in places else []
    paths += sorted(Path(places["PARTS"]).glob("*")) if "PARTS" in places else []
    found: list[Mapping[str, str]] = []
    for path in paths:
        if path != own and path.suffix in (".list", ".sources") and path.is_file():
            read = stanzas_of_sources if path.suffix == ".sources" else stanzas_of_list
            found += read(path.read_text(errors="surrogateescape"))
    return found


def source(path: Path, packages: Sequence[str]) -> str:
    """Return the text of the source that this host needs, '' when none of its sources is Debian's."""
    fields = "$(ORIGIN) $(REPO_URI) $(RELEASE)"
    listed = run(["apt-get", "indextargets", "--format", fields, "Created-By: Packages"])
    return text_of(non_free(read_stanzas(path), debian_archives(listed)), packages)


def write(path: Path, data: bytes | None) -> None:
    """Make a file what it must be in one step; None removes it."""
    if data is None:
        if path.exists():
            path.unlink()
        return
    # apt does not read a file with this ending.
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_bytes(data)
    fresh.chmod(0o644)
    fresh.replace(path)


def add(path: Path, text: str, packages: Sequence[str]) -> list[str]:
    """Write the source and return those packages that apt knows then; without any it is taken back.

    Raises AptError when apt cannot use it: it is taken back by then.
    """
    before = path.read_bytes() if path.exists() else None
    found: list[str] = []
    write(path, text.encode(errors="surrogateescape"))
    try:
        run(["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", "update"], UPDATE_TIMEOUT_S)
        names = with_candidate(run(["apt-cache", "policy", *packages]))
        found = [package for package in packages if package in names]
    finally:
        # A source that apt cannot read would break apt for everybody.
        if not found:
            write(path, before)
    return found


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "list", "elements": "str", "required": True},
            "path": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    packages, path = module.params["packages"], Path(module.params["path"])
    try:
        text = source(path, packages)
        before = path.read_text(errors="surrogateescape") if path.exists() else ""
        if text in ("", before):
            module.exit_json(changed=False, found=[])
        diff = {"before": before, "after": text, "before_header": str(path), "after_header": str(path)}
        found = [] if module.check_mode else add(path, text, packages)
    except AptError as error:
        module.fail_json(
            msg=f"apt could not take up the component non-free, and {path} is as it was: {error}"
        )
    module.exit_json(changed=module.check_mode or bool(found), found=found, diff=diff)


if __name__ == "__main__":
    main()
