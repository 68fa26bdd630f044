"""Decrypt single values of an inventory with ansible-vault."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from perfctl.errors import UsageError
from perfctl.inventory.ansible_inventory import VAULT_HINT, environment, find_program, inventory_options

_TIMEOUT_S = 60.0
_NOT_VAULT = ("-e", "--extra-vars")


class Vault:
    """Decrypts values with the vault options that the user gave."""

    def __init__(self, passthrough: Sequence[str]) -> None:
        self._options: list[str] = []
        options = iter(inventory_options(passthrough))
        for option in options:
            if option in _NOT_VAULT:
                next(options, None)
            elif not option.startswith("--extra-vars="):
                self._options.append(option)
        self._opened: dict[str, str] = {}

    def open(self, value: Any, where: str) -> Any:
        """Return `value`, decrypted if it is an inline vault value. Raises UsageError."""
        if not isinstance(value, Mapping) or "__ansible_vault" not in value:
            return value
        sealed = str(value["__ansible_vault"])
        if sealed not in self._opened:
            self._opened[sealed] = self._decrypt(sealed, where)
        return self._opened[sealed]

    def _decrypt(self, sealed: str, where: str) -> str:
        argv = [find_program("ansible-vault"), "decrypt", "--output=-", *self._options]
        try:
            done = subprocess.run(
                argv,
                input=sealed,
                capture_output=True,
                encoding="utf-8",
                timeout=_TIMEOUT_S,
                check=False,
                env=environment(),
            )
        except UnicodeError:
            # The error holds what was decrypted.
            raise UsageError("the encrypted value is not UTF-8", where=where) from None
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UsageError(f"ansible-vault did not run: {error}", where=where) from error
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines()
            raise UsageError(
                f"the encrypted value cannot be opened: {lines[-1] if lines else 'no output'}",
                where=where,
                hint=VAULT_HINT,
            )
        return done.stdout
