"""A guest, booted afresh each time it is opened and always removed.

    survey    read what the host has                                1 call
    claim     its folder and its address                            1 call
    start     overlays, domain, boot, connection, all on the host   1 call; once more after no output
    run       ssh from the host                                     1 call; its cost is around the command
    close     domain, tap, overlays, address                        1 call, checked

Everything goes through the host's shell; docs/virtual-machines.md draws it.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Literal

from perfctl.environments.catalogue import VM_MEMORY_MIB
from perfctl.environments.naming import name_stem, new_name
from perfctl.environments.vm.accelerator import PROBE_TIMEOUT_S, Choice, choose
from perfctl.environments.vm.commands import CALL_TIMEOUT_S, FOLDER, Guest, host_argv, link_argv
from perfctl.environments.vm.domain import (
    Disk,
    Domain,
    Nic,
    command_line,
    mac_address,
    probe_command_line,
    tap_name,
)
from perfctl.environments.vm.errors import NoOutput, address_error, claim_error, start_error
from perfctl.environments.vm.host_state import GuestState, HostState
from perfctl.environments.vm.pinning import plan
from perfctl.environments.vm.shell import GuestShell, OpenedGuest
from perfctl.errors import CommandFailed, EnvironmentDied, EnvironmentFailure, PerfctlError
from perfctl.model import Environment, GuestBoot
from perfctl.shell import Shell

BOOT_TIMEOUT_S = 180
"""How long a guest may take until it answers. Emulated on a loaded host it takes many times its own."""

BOOT_ATTEMPTS = 2
"""A guest that prints nothing is ended and booted once more: emulated ones now and then hang before their
first line, and the next one is fine."""

MIN_OUTPUT_TIMEOUT_S = 30
OUTPUT_TIMEOUT_FACTOR = 5
"""How long a guest may print nothing while its kernel starts, at least and in times to the first output of an
earlier guest on this host."""

_SCRATCH_SIZE = "16G"
"""Of the empty disk; it takes no more of the host than is written to it."""

_ADDRESSES_PER_GUEST = 8
"""A guest has the second address of eight; the upper four are for containers in it."""
_ENGINE_OFFSET, _ENGINE_PREFIX_LENGTH = 3, 30

_ANY_ADDRESS = "0.0.0.0"
"""The address in a description."""


class VmDriver:
    """Makes guests of one environment, named and marked after one invocation of one run."""

    def __init__(
        self,
        environment: Environment,
        *,
        run_id: str,
        invocation_id: str,
        with_engine: bool = False,
        first_output_s: float | None = None,
        boot_timeout_s: int = BOOT_TIMEOUT_S,
    ) -> None:
        """Make guests of `environment`; `with_engine`: with a Docker engine for containers within.

        `first_output_s` is how long an earlier guest took on this host until it printed something.
        """
        self._environment = environment
        self._run_id = run_id
        self._stem = name_stem(run_id, invocation_id)
        self._with_engine = with_engine
        self._boot_timeout_s = boot_timeout_s
        self._output_timeout_s = max(
            MIN_OUTPUT_TIMEOUT_S, round(OUTPUT_TIMEOUT_FACTOR * (first_output_s or 0.0))
        )

    def check(self, host: Shell) -> None:
        """Boot a guest as far as its first program. Raises EnvironmentFailure."""
        with self._naming(host):
            state = self._read_host(host)
            choice = self._choose(host, state)
            failure = self._probe(host, state, choice, self._boot_timeout_s)
            if isinstance(failure, EnvironmentDied):
                failure = self._probe(host, state, choice, self._boot_timeout_s)
            if failure is not None:
                raise failure

    def describe(self, host: Shell) -> dict[str, str]:
        """Return accelerator, versions, kernel, image, pinning and the domain as libvirt is given it.

        What changes from guest to guest is left out. Raises EnvironmentFailure.
        """
        with self._naming(host):
            state = self._read_host(host)
            choice = self._choose(host, state)
        stable = self._domain(host, state, choice, Guest("NAME", "UUID"), _ANY_ADDRESS)
        manifest = state.manifest
        return {
            "accelerator": choice.accelerator,
            "accelerator.reason": choice.why,
            "qemu.version": state.versions.get("hypervisor", ""),
            "libvirt.version": state.versions.get("daemon", ""),
            "kernel.release": str(manifest.get("kernel_release", "")),
            "kernel.source": str(manifest.get("kernel_source", "")),
            "image.id": str(manifest.get("image_id", "")),
            "image.recipe": str(manifest.get("recipe_version", "")),
            "image.sha256": state.image.rpartition("/")[2],
            "machine.type": stable.machine,
            "cpu.mode": stable.cpu_mode,
            "vhost": "yes" if stable.nic and stable.nic.has_vhost else "no",
            **stable.pinning.described(),
            "domain.xml": replace(stable, run_id="RUN").xml(),
        }

    @contextmanager
    def open(self, host: Shell) -> Iterator[GuestShell]:
        """Boot a guest, give its shell, remove it.

        Raises EnvironmentUnavailable when the host cannot have it, EnvironmentNotMade when it is not set up
        for it, EnvironmentDied when the guest did not come up (all with the reason, and with the console if
        there is one), CommandFailed that names what could not be removed; if the body has failed already, its
        error is raised, with a note about what is left.
        """
        with self._naming(host):
            state = self._read_host(host)
            choice = self._choose(host, state)
        with ExitStack() as stack:
            with self._naming(host):
                guest, opened = self._start_until_output(host, state, choice, stack)
            yield GuestShell(host, self._environment, guest, opened)

    # ---- the host ----

    def _read_host(self, host: Shell) -> HostState:
        found = HostState.parse(host.run(host_argv("survey"), timeout_s=CALL_TIMEOUT_S).text)
        found.check(with_engine=self._with_engine)
        found.check_memory(self._memory_mib, hugepages=self._environment.hugepages)
        # What fits with neither accelerator is refused before one is tried.
        plan(found.topology, self._environment, "tcg")
        return found

    def _choose(self, host: Shell, state: HostState) -> Choice:
        def probe() -> str | None:
            failure = self._probe(host, state, Choice("kvm", ""), PROBE_TIMEOUT_S)
            return failure.message if failure else None

        return choose(host, state, self._environment.accelerator, probe)

    def _probe(
        self, host: Shell, state: HostState, choice: Choice, timeout_s: int
    ) -> EnvironmentFailure | None:
        """Boot a guest without disks and address as far as its first program; return why it did not."""
        guest = self._new_guest()
        # Outside of `try`: an error about CPUs that the host does not have is not about the accelerator.
        domain = self._domain(host, state, choice, guest, _ANY_ADDRESS)
        tiny = replace(domain, disks=(), command_line=probe_command_line(choice.accelerator))
        with self._removed(host, guest):
            try:
                self._claim(host, guest)
                self._boot(host, guest, tiny, "kernel", timeout_s)
            except EnvironmentFailure as failure:
                return failure
        return None

    # ---- one guest ----

    def _start_until_output(
        self, host: Shell, state: HostState, choice: Choice, stack: ExitStack
    ) -> tuple[Guest, OpenedGuest]:
        """Return a guest that has come up, which `stack` removes; one without output is replaced once."""
        attempt = 0
        while True:
            attempt += 1
            guest = self._new_guest()
            try:
                with ExitStack() as removal:
                    removal.enter_context(self._removed(host, guest))
                    opened = self._start(host, state, choice, guest, attempt)
                    stack.enter_context(removal.pop_all())
                    return guest, opened
            except NoOutput as failure:
                failure.message += f" (boot {attempt} of {BOOT_ATTEMPTS})"
                # One that could not be removed would run beside the next.
                if attempt == BOOT_ATTEMPTS or getattr(failure, "__notes__", None):
                    raise

    def _start(
        self, host: Shell, state: HostState, choice: Choice, guest: Guest, attempt: int
    ) -> OpenedGuest:
        addresses = state.guest_addresses(_ADDRESSES_PER_GUEST)
        if not addresses:
            raise address_error([])
        address = self._claim(host, guest, *addresses)
        domain = self._domain(host, state, choice, guest, address)
        goal: Literal["engine", "ssh"] = "engine" if self._with_engine else "ssh"
        disks = [f"root.qcow2={state.image}/root.ext4", f"scratch.img:{_SCRATCH_SIZE}"]
        if self._with_engine:
            disks.append(f"engine.qcow2={state.image}/engine.ext4")
        opening_s = self._boot(
            host, guest, domain, goal, self._boot_timeout_s, *disks, "--", *link_argv(guest, address)
        )
        boot = GuestBoot(choice.accelerator, len(domain.pinning.vcpus), attempt)
        return OpenedGuest(address, state.network.mtu_bytes, boot, opening_s, domain.xml())

    def _claim(self, host: Shell, guest: Guest, *addresses: str) -> str:
        """Make a guest's folder, and return the first free one of some addresses; '' where none is named."""
        argv = host_argv("claim", guest.name, self._run_id, guest.uuid, tap_name(guest.name), *addresses)
        claimed = host.run(argv, timeout_s=CALL_TIMEOUT_S)
        if claimed.exit_code != 0:
            raise claim_error(guest, claimed)
        return claimed.text.strip()

    def _boot(
        self, host: Shell, guest: Guest, domain: Domain, goal: str, timeout_s: int, *rest: str
    ) -> dict[str, float]:
        limits = (str(timeout_s), str(self._output_timeout_s))
        argv = host_argv("start", guest.name, guest.uuid, goal, *limits, domain.owner, *(rest or ("--",)))
        started = host.run(argv, timeout_s=timeout_s + CALL_TIMEOUT_S, stdin=domain.xml().encode())
        if started.exit_code != 0:
            argv = host_argv("state", guest.name, guest.uuid)
            state = GuestState.parse(host.run(argv, timeout_s=CALL_TIMEOUT_S).text)
            raise start_error(guest, started, state, timeout_s)
        steps = (line.split() for line in started.text.splitlines())
        return {name: float(seconds) for name, seconds in steps}

    def _domain(self, host: Shell, state: HostState, choice: Choice, guest: Guest, address: str) -> Domain:
        network = state.network
        engine_range = f"{IPv4Address(address) + _ENGINE_OFFSET}/{_ENGINE_PREFIX_LENGTH}"
        disks = [
            Disk("vda", f"{guest.folder}/root.qcow2", "qcow2"),
            Disk("vdb", f"{guest.folder}/scratch.img", "raw"),
        ]
        if self._with_engine:
            disks.append(Disk("vdc", f"{guest.folder}/engine.qcow2", "qcow2"))
        return Domain(
            name=guest.name,
            uuid=guest.uuid,
            run_id=self._run_id,
            accelerator=choice.accelerator,
            memory_mib=self._memory_mib,
            pinning=plan(state.topology, self._environment, choice.accelerator, host=host.name),
            kernel=f"{state.image}/vmlinuz",
            initramfs=f"{state.image}/initramfs",
            command_line=command_line(
                choice.accelerator,
                address=address,
                prefix_length=network.prefix_length,
                mtu_bytes=network.mtu_bytes,
                engine_range=engine_range if self._with_engine else None,
            ),
            console=guest.console,
            disks=tuple(disks),
            nic=Nic(
                bridge=network.bridge,
                tap=tap_name(guest.name),
                mac=mac_address(address),
                mtu_bytes=network.mtu_bytes,
                # The host's kernel moves frames only for guests that the processor runs itself.
                has_vhost=choice.accelerator == "kvm" and "vhost-net" in state.devices,
            ),
            hugepages=self._environment.hugepages,
            disk_cache=self._environment.disk_cache,
            disk_io=self._environment.disk_io,
            owner=state.owner,
        )

    @property
    def _memory_mib(self) -> int:
        return self._environment.memory_mib or VM_MEMORY_MIB

    def _new_guest(self) -> Guest:
        return Guest(new_name(self._stem), str(uuid.uuid4()))

    # ---- errors and removal ----

    @contextmanager
    def _naming(self, host: Shell) -> Iterator[None]:
        """Add the host and the environment to an error."""
        try:
            yield
        except EnvironmentFailure as failure:
            failure.where = failure.where or f"{host.name}/{self._environment.name}"
            raise

    @contextmanager
    def _removed(self, host: Shell, guest: Guest) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            # Also for Ctrl-C and for a start that failed half way: the host may have made it anyway.
            try:
                _close(host, guest)
            except PerfctlError as failure:
                error.add_note(str(failure))
            raise
        _close(host, guest)


def _close(host: Shell, guest: Guest) -> None:
    closed = host.run(host_argv("close", guest.name, guest.uuid), timeout_s=CALL_TIMEOUT_S)
    if closed.exit_code != 0:
        left = closed.text.strip() or closed.error_text
        raise CommandFailed(
            f"the guest {guest.name} was not removed: {left} is left",
            where=host.name,
            hint=f"end it by hand: virsh destroy {guest.name}; rm -r {guest.folder}",
        )


def start_argv() -> list[str]:
    """Return the command that starts a guest, for people to read."""
    return ["virsh", "create", f"{FOLDER}/guests/NAME/domain.xml"]


def remove_all(host: Shell, run_id: str) -> list[str]:
    """End every guest of a run on this host with its tap, overlays and address; return their names.

    Only what has such a name and carries the run's mark; a host without libvirt has none. Raises
    CommandFailed that names what is left.
    """
    reaped = host.run(host_argv("reap", name_stem(run_id, ""), run_id), timeout_s=CALL_TIMEOUT_S)
    if reaped.exit_code != 0:
        raise CommandFailed(f"guests were not removed: {reaped.error_text}", where=host.name)
    return reaped.text.split()


def left_behind(host: Shell, run_id: str | None = None) -> list[str]:
    """Return what is left on a host of a run's guests (None: of any run's), such as 'tap pfc0123456789'."""
    argv = host_argv("left", name_stem(run_id, "") if run_id else "perfctl-", run_id or "")
    return host.run(argv, timeout_s=CALL_TIMEOUT_S).text.splitlines()
