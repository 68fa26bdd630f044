"""Is the test network's MTU true all the way? Asked from inside, with frames that may not be cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from perfctl.shell import Completed, Shell

_HEADERS_BYTES = 28
"""IPv4 and ICMP."""
_CONTROL_BYTES = 56
_TRIES, _ANSWER_TIMEOUT_S = 3, 2
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class PathCheck:
    """What became of the frames: 'ok'; 'down': none arrive; 'mtu': only small ones do."""

    state: Literal["ok", "down", "mtu"]
    size_bytes: int
    """The payload of the large ones: the MTU without the headers of IPv4 and ICMP."""
    detail: str
    """What ping said."""


def check_path(shell: Shell, address: str, mtu_bytes: int) -> PathCheck:
    """Return whether unfragmented frames of `mtu_bytes` get from inside `shell` to `address` and back.

    A small one goes first, so that a path that is down is not taken for a wrong MTU.
    """
    size_bytes = mtu_bytes - _HEADERS_BYTES
    control = _ping(shell, address, _CONTROL_BYTES)
    if control.exit_code != 0:
        return PathCheck("down", size_bytes, _words(control))
    large = _ping(shell, address, size_bytes)
    return PathCheck("ok" if large.exit_code == 0 else "mtu", size_bytes, _words(large))


def _ping(shell: Shell, address: str, size_bytes: int) -> Completed:
    options = ["-n", "-q", "-M", "do", "-c", str(_TRIES), "-i", "0.2", "-W", str(_ANSWER_TIMEOUT_S)]
    return shell.run(["ping", *options, "-s", str(size_bytes), address], timeout_s=_TIMEOUT_S)


def _words(pinged: Completed) -> str:
    said = (pinged.error_text or pinged.text.strip()).splitlines()
    return next((line for line in said if "transmitted" in line or "too long" in line), " ".join(said[-1:]))
