"""Which accelerator a guest gets. That /dev/kvm is there proves nothing: a guest must have booted with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from perfctl.environments.vm.commands import CALL_TIMEOUT_S, host_argv
from perfctl.environments.vm.host_state import HostState, Remembered
from perfctl.errors import EnvironmentUnavailable
from perfctl.model.environment import Accelerator
from perfctl.shell import Shell

PROBE_TIMEOUT_S = 15
"""A guest begins within a second where the processor helps; one that hangs is ended after this."""

_HINT = 'leave the accelerator open, or set accelerator = "tcg" (emulation)'


@dataclass(frozen=True, slots=True)
class Choice:
    """An accelerator, and why this one."""

    accelerator: Accelerator
    why: str


def choose(
    host: Shell, state: HostState, asked_for: Accelerator | None, probe: Callable[[], str | None]
) -> Choice:
    """Return the accelerator for guests on a host.

    `probe` boots a tiny guest with kvm and returns None, or why it did not boot; it is called once while the
    host runs. Raises EnvironmentUnavailable when the environment insists on kvm and it does not work.
    """
    if asked_for == "tcg":
        return Choice("tcg", "the environment asks for it")
    found = _found(host, state, probe)
    if found.accelerator == "kvm":
        return Choice("kvm", found.why)
    if asked_for == "kvm":
        raise EnvironmentUnavailable(f"kvm does not work here: {found.why}", hint=_HINT)
    return Choice("tcg", found.why)


def _found(host: Shell, state: HostState, probe: Callable[[], str | None]) -> Remembered:
    if "kvm" not in state.devices:
        return Remembered("tcg", "there is no /dev/kvm")
    if state.remembered is not None:
        return state.remembered
    failure = probe()
    if failure is None:
        found = Remembered("kvm", "a probe guest booted with it")
    else:
        found = Remembered("tcg", f"a probe guest did not boot with kvm: {' '.join(failure.split())}")
    host.run(
        host_argv("remember", f"{state.boot}\n{found.accelerator}\n{found.why}"), timeout_s=CALL_TIMEOUT_S
    )
    return found
