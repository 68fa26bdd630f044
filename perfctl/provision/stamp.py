"""The stamp of a host: what it was last provisioned with, read by one command before Ansible starts.

key = sha256 of (playbook, roles, Dockerfile, base archive, build context, perf_* variables, extra variables,
options). stamp = key and boot id. The playbook writes it as its last task, so it never stands for more than
was done, and removes the stamp of another state before it changes anything.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from perfctl import assets
from perfctl.errors import HostError, HostUnreachable, PerfctlError
from perfctl.model import Host, content_hash
from perfctl.playbook.host_python import interpreter_of
from perfctl.ssh import connect

STAMP_PATH = "/var/lib/perfctl/stamp.json"
_ROLES = (
    "perf_tools",
    "perf_engine",
    "perf_bridge",
    "perf_docker",
    "perf_image",
    "perf_layers",
    "perf_vm_host",
    "perf_vm_image",
)
_READ_AT_ONCE = 32
_TIMEOUT_S = 20.0
# "$@" is the host's Python, where it is known.
_READ = f"""
cat /proc/sys/kernel/random/boot_id
code='import sys; print("%d.%d.%d" % sys.version_info[:3])'
{{ [ $# -gt 0 ] && "$@" -S -E -c "$code" 2>/dev/null; }} || echo
cat {STAMP_PATH} 2>/dev/null || true
"""


@dataclass(frozen=True, slots=True)
class StampReading:
    """A host's boot id and the fields of its stamp ('' without a stamp), or why it was not reached."""

    boot_id: str = ""
    key: str = ""
    stamped_boot_id: str = ""
    python: str = ""
    """The version of the Python that Ansible will use there, '' where it is not known."""
    error: HostError | None = None

    def is_current(self, key: str) -> bool:
        """Return whether the host was provisioned with exactly this, and has not booted since."""
        return bool(key) and self.key == key and self.stamped_boot_id == self.boot_id


def read_stamps(hosts: Sequence[Host]) -> dict[str, StampReading]:
    """Return the stamp of every host by its name, all read at once."""
    with ThreadPoolExecutor(max_workers=min(len(hosts), _READ_AT_ONCE) or 1) as pool:
        return dict(zip((host.name for host in hosts), pool.map(_read_stamp, hosts), strict=True))


def keys(
    hosts: Sequence[Host],
    extra_vars: Mapping[str, Any],
    passthrough: Sequence[str],
    layers: Mapping[str, Sequence[Mapping[str, Any]]] = MappingProxyType({}),
) -> dict[str, str]:
    """Return for every host the hash of everything that decides how it is provisioned.

    `layers` are the image layers of each host.
    """
    shipped = _files_hash(_shipped())
    result = {}
    for host in hosts:
        variables = {name: value for name, value in host.variables.items() if name.startswith("perf_")}
        variables |= extra_vars
        result[host.name] = content_hash(
            [
                *(shipped, variables, list(passthrough)),
                [_trace(path) for path in _named_files(variables)],
                layers.get(host.name, []),
            ]
        )
    return result


def forget(host: Host) -> None:
    """Remove a host's stamp. Raises PerfctlError when that cannot be done."""
    transport = connect(replace(host, become=True))
    try:
        transport.run(["rm", "-f", STAMP_PATH], timeout_s=_TIMEOUT_S)
    finally:
        transport.close()


def _read_stamp(host: Host) -> StampReading:
    python = shlex.split(interpreter_of(host) or "")
    try:
        transport = connect(host)
        try:
            argv = ["sh", "-c", _READ, "sh", *python]
            lines = transport.run(argv, timeout_s=_TIMEOUT_S).text.splitlines()
        finally:
            transport.close()
    except HostError as error:
        return StampReading(error=error)
    except PerfctlError as error:
        return StampReading(error=HostUnreachable(error.message, where=host.name, hint=error.hint))
    boot_id, version, *rest = [*lines, "", ""]
    try:
        stamp = json.loads("\n".join(rest))
        return StampReading(boot_id, str(stamp["key"]), str(stamp["boot_id"]), version)
    except (ValueError, LookupError, TypeError, RecursionError):
        return StampReading(boot_id, python=version)


def _shipped() -> Iterator[Path]:
    yield assets.playbooks_dir() / "provision.yml"
    yield assets.dockerfile()
    yield from sorted(assets.images_dir().glob("*.Dockerfile"))
    for role in _ROLES:
        folder = assets.roles_dir() / role
        yield from sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")


def _files_hash(paths: Iterator[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        digest.update(f"{path.name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _named_files(variables: Mapping[str, Any]) -> Iterator[Path]:
    """Yield the files on the controller that variables name: large ones, so only their trace counts."""
    for name in ("perf_image_dockerfile", "perf_image_base_archive", "perf_image_context"):
        if isinstance(value := variables.get(name), str) and value and "{{" not in value:
            path = Path(value).expanduser()
            yield path
            if path.is_dir():
                yield from sorted(path.rglob("*"))


def _trace(path: Path) -> list[Any]:
    """Return a file's path, size and time of last change; the path alone where it does not exist."""
    try:
        status = path.stat()
    except OSError:
        return [str(path)]
    return [str(path), status.st_size, status.st_mtime_ns]
