"""Sign a manifest with an ssh key, and check a signature, by ssh-keygen (OpenSSH 8.1 or newer)."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from perfctl.errors import DataError, UsageError

NAMESPACE = "perfctl-bundle"
"""What the signature is for: one of another namespace does not count."""
_TIMEOUT_S = 120.0
"""The user may have to type a passphrase or touch a key."""


def sign(manifest: bytes, key: Path) -> bytes:
    """Return the signature of a manifest by a private key, or by a public one whose agent is there."""
    done = _keygen("sign", "-f", str(key), "-n", NAMESPACE, stdin=manifest)
    if done.returncode or not done.stdout:
        hint = "name a key that ssh-keygen can use, e.g. --sign ~/.ssh/id_ed25519"
        raise UsageError(f"it cannot be signed: {_said(done)}", where=str(key), hint=hint)
    return done.stdout


def check_signature(manifest: bytes, signature: bytes, signers: Path | None) -> str:
    """Return who signed a manifest: the identity in `signers` (ssh-keygen(1), ALLOWED SIGNERS), else the key.

    Raises DataError when the signature does not belong to the manifest, or to none of the signers.
    """
    with tempfile.NamedTemporaryFile(prefix="perfctl-", suffix=".sig") as file:
        file.write(signature)
        file.flush()
        named = ("-n", NAMESPACE, "-s", file.name)
        if signers is None:
            done = _keygen("check-novalidate", *named, stdin=manifest)
            remark = " (whose key that is was not checked: --signers FILE)"
        else:
            found = _keygen("find-principals", "-s", file.name, "-f", str(signers))
            if found.returncode or not found.stdout.strip():
                hint = "a line of it is: IDENTITY KEY-TYPE KEY, as in ~/.ssh/id_ed25519.pub"
                raise DataError("none of the signers made its signature", where=str(signers), hint=hint)
            identity = found.stdout.decode("utf-8", "replace").splitlines()[0]
            done = _keygen("verify", "-f", str(signers), "-I", identity, *named, stdin=manifest)
            remark = ""
    if done.returncode:
        raise DataError(f"its signature does not belong to it: {_said(done)}")
    return f"{_said(done)}{remark}"


def _keygen(action: str, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    argv = ["ssh-keygen", "-Y", action, *arguments]
    try:
        return subprocess.run(argv, input=stdin, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except FileNotFoundError as error:
        raise UsageError("ssh-keygen is not installed", hint="apt install openssh-client") from error
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"ssh-keygen did not end in {_TIMEOUT_S:.0f} s") from error


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return the last line that it printed."""
    text = (done.stdout + b"\n" + done.stderr).decode("utf-8", "replace").strip()
    return text.splitlines()[-1] if text else f"exit code {done.returncode}"
