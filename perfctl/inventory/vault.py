"""Decrypt values and files of an inventory with ansible-vault, and tell texts from templates."""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import shlex
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from perfctl.errors import UsageError
from perfctl.inventory.ansible_inventory import VAULT_HINT, environment, find_program, inventory_options
from perfctl.inventory.cache import settings_file
from perfctl.inventory.yaml_text import texts_of_yaml
from perfctl.redaction import is_secret_name, register

_TIMEOUT_S = 60.0
_VARIABLES = ("-e", "--extra-vars")
_PASSWORD_FILES = (
    *("--connection-password-file", "--conn-pass-file", "--become-password-file", "--become-pass-file"),
    *("--vault-password-file", "--vault-pass-file", "--vault-id"),
)
_PASSWORD_FILE_SETTINGS = (
    *("vault_password_file", "vault_identity_list", "become_password_file", "connection_password_file"),
)
"""Of ansible.cfg, in whatever section; each is also a variable, ANSIBLE_VAULT_PASSWORD_FILE and so on."""
_HEADER = b"$ANSIBLE_VAULT"


class LiteralText(str):
    """A text that is never read as a template: it was `!unsafe`, or came out of a vault."""

    __slots__ = ()


class Vault:
    """Decrypts values with the vault options that the user gave."""

    def __init__(self, passthrough: Sequence[str]) -> None:
        self._options: list[str] = []
        options = iter(inventory_options(passthrough))
        for option in options:
            if option in _VARIABLES:
                next(options, None)
            elif not option.startswith("--extra-vars="):
                self._options.append(option)
        self._opened: dict[str, str] = {}

    def open(self, value: Any, where: str) -> Any:
        """Return `value`, as LiteralText if it is an inline vault value. Raises UsageError.

        What was decrypted is registered with `redaction`.
        """
        if not isinstance(value, Mapping) or "__ansible_vault" not in value:
            return value
        text = self._open(str(value["__ansible_vault"]), where)
        register(where.rpartition(": ")[2], text)
        return LiteralText(text)

    def open_all(self, value: Any, name: str) -> None:
        """Decrypt and register whatever is encrypted in a value; what cannot be opened is passed over.

        Ansible may quote variables that perfctl itself does not read.
        """
        if isinstance(value, Mapping) and "__ansible_vault" in value:
            with contextlib.suppress(UsageError):
                register(name, self._open(str(value["__ansible_vault"]), name))
        elif isinstance(value, Mapping):
            for key, item in value.items():
                self.open_all(item, str(key))
        elif isinstance(value, list):
            for item in value:
                self.open_all(item, name)

    def texts_of_files(self, sources: Sequence[str]) -> set[str]:
        """Return every text in the encrypted files of an inventory, all registered with `redaction`."""
        found = set()
        for path in _encrypted_files(sources):
            with contextlib.suppress(UsageError, ValueError):
                for name, text in texts_of_yaml(path.stem, self._decrypt(path.read_text(), str(path))):
                    register(name, text)
                    found.add(text)
        return found

    def _open(self, sealed: str, where: str) -> str:
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
                errors="surrogateescape",
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


def register_options(passthrough: Sequence[str], environ: Mapping[str, str]) -> None:
    """Register the secrets that Ansible is told by options, variables and ansible.cfg.

    Those are in password files, and in `-e NAME=VALUE`.
    """
    options = iter(passthrough)
    for option in options:
        name, has_value, value = option.partition("=")
        if name in (*_PASSWORD_FILES, *_VARIABLES):
            value = value if has_value else next(options, "")
        if name in _PASSWORD_FILES:
            _register_file(name, value)
        elif name in _VARIABLES:
            _register_variables(value)
    for setting in _PASSWORD_FILE_SETTINGS:
        name = f"ANSIBLE_{setting.upper()}"
        for path in _paths(setting, environ.get(name, "")):
            _register_file(name, path)
    for setting, path, folder in _configured_files(environ):
        _register_file(setting, path, folder)


def _configured_files(environ: Mapping[str, str]) -> Iterator[tuple[str, str, Path]]:
    """Yield what names a password file in ansible.cfg: setting, path, and the folder the path is from."""
    settings = settings_file(environ)
    if settings is None:
        return
    # As Ansible reads it.
    content = configparser.RawConfigParser(inline_comment_prefixes=(";",), strict=False)
    with contextlib.suppress(OSError, UnicodeDecodeError, configparser.Error):
        content.read_string(settings.read_text(encoding="utf-8"))
    for section in content.sections():
        for setting in _PASSWORD_FILE_SETTINGS:
            for path in _paths(setting, content[section].get(setting, "")):
                # Those of a list are named as options are.
                yield setting, path, Path() if setting.endswith("_list") else settings.parent


def _paths(setting: str, value: str) -> list[str]:
    return value.split(",") if setting.endswith("_list") else [value]


def _register_file(name: str, value: str, folder: Path = Path()) -> None:
    """Register what is in a file, named as PATH or LABEL@PATH, from `folder` unless it is absolute."""
    with contextlib.suppress(OSError, UnicodeDecodeError, ValueError, RuntimeError):
        text = value.rpartition("@")[2].strip().strip("'\"").replace("{{CWD}}", str(Path.cwd()))
        path = folder / Path(os.path.expandvars(text)).expanduser()
        # A program prints the password; what it is made of is none.
        if text and path.is_file() and not os.access(path, os.X_OK):
            register(name, path.read_text(encoding="utf-8"))


def _register_variables(text: str) -> None:
    with contextlib.suppress(ValueError, RecursionError):
        pairs = (
            json.loads(text).items() if text.startswith("{") else (w.split("=", 1) for w in shlex.split(text))
        )
        for name, *value in pairs:
            if is_secret_name(name):
                register(name, "".join(map(str, value)))


def with_literal_texts(value: Any, decrypted: Collection[str] = ()) -> Any:
    """Return a variable with what is `!unsafe` or was `decrypted` in it as LiteralText, at any depth."""
    if isinstance(value, str):
        return LiteralText(value) if value in decrypted else value
    if isinstance(value, Mapping):
        if "__ansible_unsafe" in value:
            return LiteralText(value["__ansible_unsafe"])
        return {key: with_literal_texts(item, decrypted) for key, item in value.items()}
    return [with_literal_texts(item, decrypted) for item in value] if isinstance(value, list) else value


def _encrypted_files(sources: Sequence[str]) -> Iterator[Path]:
    """Yield the files among an inventory's sources, and in the folders of variables beside them."""
    for source in map(Path, sources):
        beside = [source.parent / "group_vars", source.parent / "host_vars"] if source.is_file() else []
        found = [source, *(path for folder in (source, *beside) for path in sorted(folder.rglob("*")))]
        for path in found:
            with contextlib.suppress(OSError):
                if path.is_file() and path.open("rb").read(len(_HEADER)) == _HEADER:
                    yield path
