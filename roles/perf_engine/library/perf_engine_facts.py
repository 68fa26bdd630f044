#!/usr/bin/python
# Runs on the managed host with the host's own Python: the standard library of 3.7 at most.
"""Find out which container engine a host has, and whether it can be configured. Changes nothing."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: perf_engine_facts
short_description: Find out which container engine a host has
description:
  - Asks the engine at its socket, looks for the process at its other end, for docker.service and for the
    package that the program belongs to. Changes nothing.
options: {}
author: the perfctl authors
"""

EXAMPLES = r"""
- name: Find out which engine there is
  perf_engine_facts:
"""

RETURN = r"""
name:
  description: What the engine is, for example C(docker.io 20.10.24, docker.service); empty without one.
  type: str
  returned: always
installed:
  description: Whether there is an engine, in whatever form.
  type: bool
  returned: always
client:
  description: Whether the command C(docker) is there.
  type: bool
  returned: always
answers:
  description: Whether it answers.
  type: bool
  returned: always
enabled:
  description: Whether docker.service starts at boot.
  type: bool
  returned: always
systemd:
  description: Whether systemd runs on this host.
  type: bool
  returned: always
refusal:
  description: Why perfctl can neither use it nor install another beside it; empty when there is no reason.
  type: str
  returned: always
"""

SOCKETS = ("/run/docker.sock", "/var/run/docker.sock")
UNIT, SNAP_UNIT = "docker.service", "snap.docker.dockerd.service"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin"
TIMEOUT_S = 20
ADVICE = (
    "perfctl uses an engine that runs as docker.service, and installs no second one beside another: "
    "remove it (perfctl then installs docker.io), or have docker.service start it"
)


# -- what the findings mean ------------------------------------------------------------------------


def describe(found: Mapping[str, Any]) -> str:
    """Return the name of the engine that was found, '' when there is none.

    `found` are the findings of `look`.
    """
    version = str((found["answer"] or {}).get("Version", ""))
    program = found["process"].get("program") or found["service"].get("program") or found["dockerd"]
    if is_podman(found):
        return f"podman in docker's place ({found['podman'] or 'it answers at the socket of docker'})"
    if is_snap(found):
        return " ".join(filter(None, ["docker", version, "of snap"]))
    if found["answer"] and found["process"].get("pid") == 0:
        return f"docker {version} outside of this host, which shares its socket"
    if not (found["answer"] or program):
        return ""
    kind = found["package"] or ("a dockerd of no package" if program else "docker")
    return ", ".join(filter(None, [f"{kind} {version}".rstrip(), program, started_by(found)]))


def started_by(found: Mapping[str, Any]) -> str:
    """Return what runs the engine, or would if it were started; '' when nothing does."""
    pid = found["process"].get("pid")
    if not found["answer"] or pid == 1 or pid == found["service"].get("pid"):
        return UNIT if found["service"].get("program") else ""
    return found["process"].get("unit") or f"started by hand (process {pid})"


def is_podman(found: Mapping[str, Any]) -> bool:
    """Return whether it is podman that stands in for docker."""
    parts = [part.get("Name") for part in (found["answer"] or {}).get("Components") or []]
    return "Podman Engine" in parts or bool(found["podman"])


def is_snap(found: Mapping[str, Any]) -> bool:
    """Return whether the engine is of a snap."""
    program = str(found["process"].get("program") or found["dockerd"] or "")
    unit = str(found["process"].get("unit") or "")
    return program.startswith(("/snap/", "/var/lib/snapd/")) or unit == SNAP_UNIT or bool(found["snap"])


def is_service(found: Mapping[str, Any]) -> bool:
    """Return whether the engine is docker.service: it answers, or it could when it is started."""
    program = found["service"].get("program") or ""
    if not Path(program).name.startswith("dockerd"):
        return False
    if not found["answer"]:
        return bool(found["service"].get("exists"))
    # Process 1 is systemd, which listens for docker.socket.
    return found["process"].get("pid") in (1, found["service"].get("pid"))


def refusal(found: Mapping[str, Any]) -> str:
    """Return why this engine can neither be used nor another be installed, '' when there is no reason."""
    name = describe(found)
    if is_podman(found):
        return f"this host has {name}, which perfctl does not measure: remove podman-docker"
    if not found["systemd"]:
        # Whatever answers was started by hand: nothing here could start another.
        return ""
    if is_service(found):
        return ""
    if found["answer"]:
        return f"the engine that answers is {name}. {ADVICE}"
    if found["service"].get("masked"):
        return f"{UNIT} is masked: systemctl unmask {UNIT}"
    if found["service"].get("program") and not found["service"].get("exists"):
        return f"{UNIT} starts {found['service']['program']}, which is not there: remove the unit, or mend it"
    if name:
        return f"this host has {name}, which does not answer. {ADVICE}"
    return ""


# -- this host -------------------------------------------------------------------------------------


def output(argv: Sequence[str]) -> str:
    """Return what a command writes, '' when it cannot."""
    try:
        done = subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""


class SocketConnection(http.client.HTTPConnection):
    """A connection to the engine at a socket in the file system."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path
        self.pid = -1

    def connect(self) -> None:
        """Connect, and note which process listens (0: one that this host does not see)."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
        size = struct.calcsize("3i")
        self.pid = struct.unpack("3i", self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[0]


def version_at(path: str) -> tuple[dict[str, Any] | None, int]:
    """Return (what the engine says of itself, the process that listens), (None, -1) without an answer."""
    connection = SocketConnection(path)
    try:
        connection.request("GET", "/version")
        answer = json.loads(connection.getresponse().read())
    except (OSError, ValueError, http.client.HTTPException):
        return None, -1
    finally:
        connection.close()
    return (answer, connection.pid) if isinstance(answer, dict) else (None, -1)


def process(pid: int) -> dict[str, Any]:
    """Return {pid, program, unit} of a process; program and unit are '' where they cannot be known."""
    try:
        program = str(Path(f"/proc/{pid}/exe").resolve()).replace(" (deleted)", "") if pid > 1 else ""
        groups = Path(f"/proc/{pid}/cgroup").read_text() if pid > 1 else ""
    except OSError:
        program, groups = "", ""
    units = re.findall(r"/([^/\s]+\.service)$", groups, re.M)
    return {"pid": pid, "program": program, "unit": units[-1] if units else ""}


def service() -> dict[str, Any]:
    """Return {program, exists, masked, enabled, pid} of docker.service; {} when systemd knows none."""
    names = "LoadState,UnitFileState,MainPID,ExecStart"
    shown = output(["systemctl", "show", "-p", names, UNIT])
    values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    if values.get("LoadState") not in ("loaded", "masked"):
        return {}
    programs = re.findall(r"\bpath=(\S+)", values.get("ExecStart", ""))
    program = programs[-1] if programs else ""
    return {
        "program": program,
        "exists": os.access(program, os.X_OK),
        "masked": values["LoadState"] == "masked",
        "enabled": values.get("UnitFileState") in ("enabled", "enabled-runtime"),
        "pid": int(values.get("MainPID") or 0),
    }


def podman() -> str:
    """Return why the command `docker` is podman's, '' when it is not or there is none."""
    path = shutil.which("docker", path=PATH)
    if path is None:
        return ""
    if Path(path).resolve().name.startswith("podman"):
        return path
    with Path(path).open("rb") as file:
        head = file.read(2048)
    return path if head.startswith(b"#!") and b"podman" in head else ""


def package_of(path: str) -> str:
    """Return the package that a file belongs to, '' when it is of none."""
    if not path:
        return ""
    # The database of packages may have it under the name from before /bin became a part of /usr.
    for name in dict.fromkeys([path, path.replace("/usr/", "/", 1), f"/usr{path}"]):
        owner = output(["dpkg-query", "-S", name]).partition(":")[0]
        if owner:
            return owner
    return output(["rpm", "-qf", "--qf", "%{NAME}", path])


def look() -> dict[str, Any]:
    """Return everything that was found."""
    answer, pid = None, -1
    for path in SOCKETS:
        answer, pid = version_at(path)
        if answer:
            break
    found: dict[str, Any] = {
        "answer": answer,
        "process": process(pid) if answer else {},
        "service": service(),
        "snap": "LoadState=loaded" in output(["systemctl", "show", "-p", "LoadState", SNAP_UNIT]).split(),
        "dockerd": shutil.which("dockerd", path=PATH) or "",
        "client": bool(shutil.which("docker", path=PATH)),
        "podman": podman(),
        "systemd": Path("/run/systemd/system").is_dir(),
    }
    found["package"] = package_of(
        found["process"].get("program") or found["service"].get("program") or found["dockerd"]
    )
    return found


def facts(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the module's result."""
    return {
        "name": describe(found),
        "installed": bool(describe(found)),
        "client": found["client"],
        "answers": bool(found["answer"]),
        "enabled": bool(found["service"].get("enabled")),
        "systemd": found["systemd"],
        "refusal": refusal(found),
    }


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, **facts(look()))


if __name__ == "__main__":
    main()
