"""The names of what perfctl makes on hosts: only what has such a name is ever removed."""

from __future__ import annotations

import os

PREFIX = "perfctl-"
"""What every such name begins with."""


def name_stem(run_id: str, invocation_id: str) -> str:
    """Return 'perfctl-RUN-INVOCATION' with the tails of both ids.

    The tail of a UUIDv7: its head is a clock that the invocations of a minute share.
    """
    return f"{PREFIX}{_tail(run_id)}-{_tail(invocation_id)}"


def new_name(stem: str) -> str:
    """Return a name never given before: client and server of one invocation may be on one host."""
    return f"{stem}-{os.urandom(2).hex()}"


def _tail(identity: str) -> str:
    return identity.replace("-", "")[-8:]
