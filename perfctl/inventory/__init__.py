"""Read the hosts of any Ansible inventory through ansible-inventory.

load_hosts(sources)
    ansible_inventory  runs ansible-inventory --list; its output is cached unless it may hold a secret
    template           the simple templates that --list leaves unresolved
    hosts              an inventory's variables as Host values
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from perfctl.assets import default_inventory
from perfctl.errors import NoHostMatched, UsageError
from perfctl.inventory.ansible_inventory import Listing, list_inventory
from perfctl.inventory.hosts import hosts_in
from perfctl.inventory.template import Resolver
from perfctl.inventory.vault import Vault, register_options, with_literal_texts
from perfctl.model import Host
from perfctl.redaction import is_secret_name, register, texts_in

__all__ = ["load_hosts", "register_secrets"]


def load_hosts(
    sources: Sequence[str] = (), *, limit: str | None = None, passthrough: Sequence[str] = ()
) -> list[Host]:
    """Return the hosts of the inventory `sources` (as given to `-i`) that `limit` leaves, in their order.

    No source means the inventory that names only this machine. Of `passthrough`, meant for ansible-playbook,
    the vault and variable options count. Raises NoHostMatched (also for a name in `limit` that matches
    nothing), UsageError with Ansible's message for a broken inventory or a value that cannot be resolved.
    """
    sources = tuple(sources) or (str(default_inventory()),)
    register_options(passthrough, os.environ)
    listing = list_inventory(sources, limit=limit, passthrough=passthrough)
    if listing.unmatched:
        _raise_unmatched(listing.unmatched, sources, passthrough)
    vault = Vault(passthrough)
    groups = _known(listing.groups, vault, sources)
    hosts = hosts_in(groups, Resolver(sources, vault))
    if not hosts:
        raise _nothing_left(listing, sources, limit)
    return hosts


def register_secrets(sources: Sequence[str], passthrough: Sequence[str]) -> None:
    """Register the secrets of an inventory with `redaction`, for whatever Ansible may quote of them.

    Of one that cannot be read there are none; Ansible says itself what is wrong with it.
    """
    sources = tuple(sources) or (str(default_inventory()),)
    register_options(passthrough, os.environ)
    with suppress(UsageError):
        _known(
            list_inventory(sources, limit=None, passthrough=passthrough).groups, Vault(passthrough), sources
        )


def _known(groups: Mapping[str, Any], vault: Vault, sources: Sequence[str]) -> Mapping[str, Any]:
    """Return a listing whose texts are told from its templates, after its secrets were registered."""
    decrypted = vault.texts_of_files(sources)
    hostvars = with_literal_texts(groups.get("_meta", {}).get("hostvars", {}), decrypted)
    for variables in hostvars.values():
        for name, value in variables.items():
            vault.open_all(value, name)
            for key, text in texts_in(name, value):
                if is_secret_name(name) or is_secret_name(key):
                    register(key, text)
    return {**groups, "_meta": {"hostvars": hostvars}}


def _raise_unmatched(patterns: Sequence[str], sources: Sequence[str], passthrough: Sequence[str]) -> None:
    everything = list_inventory(sources, limit=None, passthrough=passthrough).groups
    groups = sorted(name for name in everything if name not in ("_meta", "all", "ungrouped"))
    hosts = sorted({host for group in everything.values() for host in group.get("hosts", ())})
    raise NoHostMatched(
        f"--limit: {', '.join(patterns)} matches no host or group",
        where=", ".join(sources),
        hint=f"hosts: {', '.join(hosts) or 'none'}; groups: {', '.join(groups) or 'none'}",
    )


def _nothing_left(listing: Listing, sources: Sequence[str], limit: str | None) -> NoHostMatched:
    if limit:
        return NoHostMatched(
            f"--limit {limit} leaves no host",
            where=", ".join(sources),
            hint="list its hosts: ansible-inventory --graph",
        )
    warnings = listing.warnings.splitlines()
    return NoHostMatched(
        f"the inventory has no hosts{': ' + warnings[0] if warnings else ''}",
        where=", ".join(sources),
        hint="write hosts into it (docs/inventory.md), or make a lab: perfctl lab up",
    )
