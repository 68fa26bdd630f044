"""A fleet of systemd hosts in containers on this machine, for trying perfctl and for its tests.

    up      resolve the request -> refuse collisions -> playbooks/lab.yml -> inventory/NAME.yml
    status  every host: container, systemd, ssh
    down    playbooks/lab.yml removes what carries this lab's labels, and nothing else

A lab that is already up is recognised without Ansible.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from perfctl import assets
from perfctl.errors import Refused, UnknownName, UsageError
from perfctl.lab.engine import Labelled, LabEngine, bridge_of, needs_sudo
from perfctl.lab.folder import LAYOUT, LabFolder, LabState
from perfctl.lab.machine import Archive, cgroup2_mount, debian_archive, name_servers, routed_networks
from perfctl.lab.topology import (
    CODENAMES,
    DEFAULT_NAME,
    TEST_MTU_BYTES,
    LabHost,
    LabRequest,
    LabSpec,
    members,
    resolve,
    subnet,
)
from perfctl.model import Listener, Note, content_hash, ignore
from perfctl.playbook import run_playbook
from perfctl.shell.command import Elevation
from perfctl.shell.local import LocalShell

__all__ = ["DEFAULT_NAME", "HostStatus", "Lab", "LabRequest", "down", "status", "up"]

_UP_TIMEOUT_S = 2400.0
_UP_TIMEOUT_PER_HOST_S = 20.0
_DOWN_TIMEOUT_S = 600.0
_SSH_TIMEOUT_S = 15.0
_READ_AT_ONCE = 8
_OTHER_NAME = "use another --name"
_CGROUP_TREE = "/sys/fs/cgroup"
_BRIDGE = re.compile(r"br-[0-9a-f]{12}")
"""What docker calls the bridges of networks."""


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab that is up."""

    spec: LabSpec
    inventory: Path
    members: tuple[LabHost, ...]


@dataclass(frozen=True, slots=True)
class HostStatus:
    """The status of one host of a lab."""

    host: str
    container: str
    """State of its container: running, exited, ...; missing when there is none."""
    system: str | None
    """State of its systemd: running, starting, degraded, ...; None for a light host or a stopped one."""
    address: str
    test_address: str
    ssh: str
    """ok, or why the login fails."""
    release: str | None = None
    """Its Debian release, such as 13; None for the machine's own."""
    cgroup: str = "machine"
    """What it sees as control groups: the machine's own tree, or v2."""

    @property
    def is_ready(self) -> bool:
        """Whether the host is up and accepts logins; degraded counts as up: only some unit has failed."""
        is_up = self.container == "running" and self.system in (None, "running", "degraded")
        return is_up and self.ssh == "ok"


def up(
    project_dir: Path, request: LabRequest, *, with_image: bool = False, listener: Listener = ignore
) -> Lab:
    """Bring a lab up, or the hosts that are missing, and return it; its inventory is written.

    With `with_image` the perf-tools image is built meanwhile, with this machine's engine, and kept where
    provisioning looks for it; all hosts must have the same release for that.
    Raises UsageError and Refused before anything is changed, PlaybookFailed with the module's message.
    """
    folder = LabFolder(project_dir.absolute(), request.name)
    existing = folder.read()
    spec = resolve(request, existing.spec if existing else None)
    lab = Lab(spec, folder.inventory, members(spec))
    layout = existing.layout if existing else LAYOUT
    releases = list(dict.fromkeys(member.release for member in lab.members))
    if with_image and len(releases) > 1:
        raise UsageError(
            f"--with-image makes one image, and the hosts have the releases {', '.join(releases)}",
            hint="leave it out: provisioning makes one image for each release",
        )
    with folder.locked():
        engine = LabEngine()
        has_engine = engine.answers()
        if layout < LAYOUT:
            hint = "its hosts cannot run virtual machines until `perfctl lab down` and `perfctl lab up`"
            listener(Note("warning", spec.name, f"made by an older perfctl: {hint}"))
        if has_engine and existing and existing.spec == spec and _is_up(folder, spec, engine):
            listener(Note("info", spec.name, f"already up: {spec.hosts} hosts, {folder.inventory}"))
            return lab
        if has_engine:
            _refuse_collisions(folder, spec, engine)
            _refuse_held_subnets(spec, routed_networks(), engine.networks(), _own_networks(folder, engine))
        else:
            # Bridges outlive an engine that was killed, and it finds its own again.
            known = existing.ids if existing else {}
            own = {known[name] for name in _networks(spec) if name in known}
            _refuse_held_subnets(spec, routed_networks(), {}, own)
        if folder.has_foreign_inventory():
            raise Refused("perfctl did not write this file", where=str(folder.inventory), hint=_OTHER_NAME)
        archive = debian_archive(LocalShell(elevation=Elevation(become=needs_sudo())))
        images = {release: _image(folder, archive, release) for release in releases}
        for release, tag in existing.image_tags.items() if existing and has_engine else ():
            # All hosts of a lab and a release are made of the same bits, also those that join it later.
            if release in images and engine.has_image(f"perfctl-lab:{tag}"):
                images[release] = replace(images[release], tag=tag)
        variables = _up_variables(folder, spec, images) | {"perf_lab_image_with_tools": with_image}
        if with_image:
            variables |= {
                "perf_image_base_archive": images[releases[0]].base_archive,
                "perf_image_state_dir": str(folder.image_dir / "perf-tools"),
            }
        tags = {release: image.tag for release, image in images.items()}
        _build(folder, LabState(spec, tags, {}, layout), variables, listener)
        ids = {item.name: item.id for item in _own(folder, engine)}
        folder.write(LabState(spec, tags, ids, layout))
    return lab


def status(project_dir: Path, name: str = DEFAULT_NAME) -> tuple[HostStatus, ...]:
    """Return the status of every host of a lab. Raises UnknownName when there is no such lab."""
    folder = LabFolder(project_dir.absolute(), name)
    state = folder.read()
    if state is None:
        raise UnknownName(
            f"there is no lab {name} in this project",
            where=str(folder.project_dir),
            hint=f"bring it up: perfctl lab up --name {name}",
        )
    return _status(folder, state.spec, LabEngine())


def down(
    project_dir: Path,
    name: str = DEFAULT_NAME,
    *,
    keep_engine: bool = False,
    purge: bool = False,
    listener: Listener = ignore,
) -> bool:
    """Remove a lab's containers, volumes, networks, key and inventory; return whether there was any.

    Images and the base's archive stay as a cache, unless `purge`. An engine that was started for the lab is
    stopped when no container runs on it any more, unless `keep_engine`.
    """
    folder = LabFolder(project_dir.absolute(), name)
    engine = LabEngine()
    found = folder.read() is not None or (engine.answers() and bool(_own(folder, engine)))
    if not found and not (purge and folder.image_dir.exists()):
        return False
    with folder.locked():
        variables = {
            "perf_lab_hosts_lab": name,
            "perf_lab_hosts_state_dir": str(folder.state_dir),
            "perf_lab_image_dir": str(folder.image_dir),
            "perf_lab_keep_engine": keep_engine,
            "perf_lab_purge": purge,
        }
        _play(folder, "absent", variables, _DOWN_TIMEOUT_S, listener)
        folder.forget()
    return found


def _build(folder: LabFolder, state: LabState, variables: dict[str, Any], listener: Listener) -> None:
    # Written first, so that what an interrupted build leaves behind can be taken down.
    folder.write(state)
    spec = state.spec
    images = len(state.image_tags)
    made = "their image is made" if images == 1 else f"their {images} images are made"
    text = f"{spec.hosts} hosts; about 20 s, and {90 * images} s more the first time, when {made}"
    listener(Note("info", spec.name, text))
    timeout_s = _UP_TIMEOUT_S + spec.hosts * _UP_TIMEOUT_PER_HOST_S
    _play(folder, "present", variables, timeout_s, listener)


def _play(
    folder: LabFolder, state: str, variables: dict[str, Any], timeout_s: float, listener: Listener
) -> None:
    common = {
        "perf_lab_state": state,
        "perf_lab_become": needs_sudo(),
        "perf_lab_engine_state_dir": str(folder.engine_dir),
    }
    result = run_playbook(
        "lab.yml",
        inventory=[str(assets.default_inventory())],
        extra_vars=common | variables,
        timeout_s=timeout_s,
        listener=listener,
    )
    result.raise_for_failures()


@dataclass(frozen=True, slots=True)
class _Image:
    """The image of the hosts of one release: what it is made from, and its tag."""

    archive: Archive
    tag: str
    image_dir: Path

    @property
    def base_archive(self) -> str:
        """The path of its small base as a tar."""
        return str(self.image_dir / f"base-{self.tag}.tar")


def _image(folder: LabFolder, own: Archive, release: str) -> _Image:
    archive = own.of(CODENAMES[release]) if release else own
    return _Image(archive, image_tag(archive), folder.image_dir)


def _up_variables(folder: LabFolder, spec: LabSpec, images: Mapping[str, _Image]) -> dict[str, Any]:
    return {
        "perf_lab_images": [
            {"tag": image.tag, "suite": image.archive.suite, "sources": list(image.archive.sources)}
            for image in images.values()
        ],
        "perf_lab_image_dir": str(folder.image_dir),
        "perf_lab_hosts_lab": spec.name,
        "perf_lab_hosts_state_dir": str(folder.state_dir),
        "perf_lab_hosts_inventory": str(folder.inventory),
        "perf_lab_hosts_management_subnet": spec.management_subnet,
        "perf_lab_hosts_test_subnet": spec.test_subnet,
        "perf_lab_hosts_test_mtu_bytes": TEST_MTU_BYTES,
        "perf_lab_hosts_name_servers": list(name_servers()),
        "perf_lab_hosts_light": spec.light,
        "perf_lab_hosts_members": [
            {
                "name": member.name,
                "management_address": member.management_address,
                "test_address": member.test_address,
                "container_range": member.container_range,
                "guest_range": member.guest_range,
                "image": f"perfctl-lab:{images[member.release].tag}",
                "base_archive": images[member.release].base_archive,
                "cgroup_mount": cgroup2_mount() if member.cgroup == "v2" else _CGROUP_TREE,
            }
            for member in members(spec)
        ],
    }


def image_tag(archive: Archive) -> str:
    """Return the content hash of the recipe of the hosts' image: the same recipe is never built twice."""
    role = assets.roles_dir() / "perf_lab_image"
    parts = ("defaults", "files", "tasks", "templates")
    files = sorted(path for part in parts for path in (role / part).iterdir())
    recipe = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return content_hash({"files": recipe, "archive": archive})[:16]


def _refuse_collisions(folder: LabFolder, spec: LabSpec, engine: LabEngine) -> None:
    """Raise Refused when a name or a subnet of this lab is used by another program."""
    labelled = engine.labelled()
    own = {item.name for item in labelled if _is_own(folder, item)}
    other = next((item for item in labelled if item.lab == spec.name and item.name not in own), None)
    if other:
        raise Refused(
            f"another project has a lab of this name: {other.state_dir}",
            where=spec.name,
            hint="use another --name and other subnets, or take that one down",
        )
    taken = (({member.name for member in members(spec)} | _networks(spec)) - own) & engine.names()
    if taken:
        raise Refused(
            f"not made by perfctl, but of the same name: {', '.join(sorted(taken))}",
            where=spec.name,
            hint=_OTHER_NAME,
        )


def _networks(spec: LabSpec) -> set[str]:
    """Return the names of a lab's networks."""
    return {f"{spec.name}-management", f"{spec.name}-test"}


def _own_networks(folder: LabFolder, engine: LabEngine) -> set[str]:
    return {item.id for item in _own(folder, engine) if item.is_network}


def _refuse_held_subnets(
    spec: LabSpec,
    routes: Iterable[tuple[str, IPv4Network]],
    engines: Mapping[str, str],
    own: Collection[str],
) -> None:
    """Raise Refused when a link of this machine has a subnet of the lab: its hosts would never be reached.

    `routes` are (link, network); `engines` has the names of the engine's networks by their ids, and `own` the
    ids of this lab's.
    """
    routes, own_links = list(routes), set(map(bridge_of, own))
    names = {bridge_of(network_id): name for network_id, name in engines.items()}
    for option, text in (
        ("--management-subnet", spec.management_subnet),
        ("--test-subnet", spec.test_subnet),
    ):
        for link, network in routes:
            # What is wider than a subnet that is there already takes nothing away from it.
            is_held = network.subnet_of(subnet(text)) if own else network.overlaps(subnet(text))
            if link in own_links or not is_held:
                continue
            what, todo = f"the link {link}", f"choose another subnet with {option}"
            if link in names:
                what += f", docker's network {names[link]},"
            elif _BRIDGE.fullmatch(link):
                what += ", which an engine that was killed has left,"
                todo = f"remove it (ip link delete {link}), or {todo}"
            raise Refused(f"the subnet {text} is in use: {what} has {network}", where=spec.name, hint=todo)


def _own(folder: LabFolder, engine: LabEngine) -> list[Labelled]:
    return [item for item in engine.labelled() if _is_own(folder, item)]


def _is_own(folder: LabFolder, item: Labelled) -> bool:
    return item.lab == folder.name and item.state_dir == str(folder.state_dir)


def _is_up(folder: LabFolder, spec: LabSpec, engine: LabEngine) -> bool:
    return folder.inventory.exists() and all(host.is_ready for host in _status(folder, spec, engine))


def _status(folder: LabFolder, spec: LabSpec, engine: LabEngine) -> tuple[HostStatus, ...]:
    hosts = members(spec)
    states = engine.states([member.name for member in hosts]) if engine.answers() else {}

    def read_status(member: LabHost) -> HostStatus:
        container = states.get(member.name, "missing")
        running = container == "running"
        return HostStatus(
            host=member.name,
            container=container,
            system=engine.system_state(member.name) if running and not spec.light else None,
            address=member.management_address,
            test_address=member.test_address,
            ssh=_try_ssh(folder, member) if running else "not running",
            release=member.release or None,
            cgroup=member.cgroup,
        )

    with ThreadPoolExecutor(max_workers=_READ_AT_ONCE) as pool:
        return tuple(pool.map(read_status, hosts))


def _try_ssh(folder: LabFolder, member: LabHost) -> str:
    """Return ok when ssh with the lab's key and known_hosts logs in, else the last line of ssh's output."""
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": "5",
        "IdentitiesOnly": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(folder.known_hosts),
    }
    argv = ["ssh", "-F", "none", "-i", str(folder.key)]
    for key, value in options.items():
        argv += ["-o", f"{key}={value}"]
    done = LocalShell().run([*argv, f"root@{member.management_address}", "true"], timeout_s=_SSH_TIMEOUT_S)
    return "ok" if done.exit_code == 0 else _last_line(done.error_text.splitlines())


def _last_line(lines: Sequence[str]) -> str:
    return lines[-1] if lines else "no output"
