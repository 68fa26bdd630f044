"""What a host was last provisioned with: kept on the host, compared in one exec before Ansible starts.

key = sha256 of (playbook, roles, Dockerfile, base archive, build context, perf_* variables, extra variables,
options). stamp = key and boot id. The playbook writes it as its last task, so it never says more than was
done, and forgets the stamp of another state before it changes anything.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from perfctl import assets
from perfctl.errors import HostError, HostUnreachable, PerfctlError
from perfctl.model import Host, content_hash
from perfctl.ssh import connect

STAMP_PATH = "/var/lib/perfctl/stamp.json"
_ROLES = (
    "perf_tools",
    "perf_engine",
    "perf_bridge",
    "perf_docker",
    "perf_image",
    "perf_vm_host",
    "perf_vm_image",
)
_ASK_AT_ONCE = 32
_TIMEOUT_S = 20.0
_READ = f"cat /proc/sys/kernel/random/boot_id; cat {STAMP_PATH} 2>/dev/null || true"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a host said: its boot id and its stamp's fields ('' without a stamp), or why it did not answer."""

    boot_id: str = ""
    key: str = ""
    stamped_boot_id: str = ""
    error: HostError | None = None

    def is_current(self, key: str) -> bool:
        """Whether the host was provisioned with exactly this, and has not booted since."""
        return bool(key) and self.key == key and self.stamped_boot_id == self.boot_id


def ask(hosts: Sequence[Host]) -> dict[str, Answer]:
    """Return every host's answer, all asked at once."""
    with ThreadPoolExecutor(max_workers=min(len(hosts), _ASK_AT_ONCE) or 1) as pool:
        return dict(zip((host.name for host in hosts), pool.map(_ask, hosts), strict=True))


def keys(hosts: Sequence[Host], extra_vars: Mapping[str, Any], passthrough: Sequence[str]) -> dict[str, str]:
    """Return for every host the hash of all that decides what provisioning would make of it."""
    shipped = _files_hash(_shipped())
    result = {}
    for host in hosts:
        variables = {name: value for name, value in host.variables.items() if name.startswith("perf_")}
        variables |= extra_vars
        result[host.name] = content_hash(
            [shipped, variables, list(passthrough), [_trace(path) for path in _named_files(variables)]]
        )
    return result


def forget(host: Host) -> None:
    """Remove a host's stamp. Raises PerfctlError when that cannot be done."""
    transport = connect(replace(host, become=True))
    try:
        transport.run(["rm", "-f", STAMP_PATH], timeout_s=_TIMEOUT_S)
    finally:
        transport.close()


def _ask(host: Host) -> Answer:
    try:
        transport = connect(host)
        try:
            lines = transport.run(["sh", "-c", _READ], timeout_s=_TIMEOUT_S).text.splitlines()
        finally:
            transport.close()
    except HostError as error:
        return Answer(error=error)
    except PerfctlError as error:
        return Answer(error=HostUnreachable(error.message, where=host.name, hint=error.hint))
    boot_id = lines[0].strip() if lines else ""
    try:
        stamp = json.loads("\n".join(lines[1:]))
        return Answer(boot_id, str(stamp["key"]), str(stamp["boot_id"]))
    except (ValueError, LookupError, TypeError):
        return Answer(boot_id)


def _shipped() -> Iterator[Path]:
    yield assets.playbooks_dir() / "provision.yml"
    yield assets.dockerfile()
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
    """Return a file's path, size and time of last change; what is not there yet may come."""
    try:
        status = path.stat()
    except OSError:
        return [str(path)]
    return [str(path), status.st_size, status.st_mtime_ns]
