#!/usr/bin/python
# Runs on the managed host with the host's own Python: the standard library of 3.7 at most.
"""Read which images of one repository a host has, and what an image for this host must be made of."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: perf_image_facts
short_description: Read which images of one repository a host has
description:
  - Reads images, machine and release. Changes nothing. A host without an engine has no images.
options:
  repository:
    description: The images' name, without a tag.
    type: str
    required: true
  record:
    description: The file in which the host notes which image it has.
    type: path
    default: /var/lib/perfctl/image.json
author: the perfctl authors
"""

EXAMPLES = r"""
- name: Read the images
  perf_image_facts:
    repository: perfctl/perf-tools
"""

RETURN = r"""
images:
  description: By tag, the image's id and C(content), a hash over its layers' digests.
  type: dict
  returned: always
has_zstd:
  description: Whether the host can pack and unpack with zstd.
  type: bool
  returned: always
machine:
  description: The host's machine, for example C(x86_64).
  type: str
  returned: always
release:
  description: The codename of the host's Debian release, empty when it is no Debian.
  type: str
  returned: always
programs:
  description: The SHA-256 of the host's own perfctl-launch and perfctl-measure, one behind the other.
  type: str
  returned: always
recorded:
  description: What the record says.
  type: dict
  returned: always
"""

PROGRAMS = (Path("/usr/local/bin/perfctl-launch"), Path("/usr/local/bin/perfctl-measure"))


def output(argv: Sequence[str]) -> str:
    """Return what a command writes, '' when it cannot."""
    try:
        done = subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""


def images(listed: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Return {tag: {id, content}} from the JSON that `docker image inspect` wrote."""
    found = {}
    for image in listed:
        layers = image["RootFS"].get("Layers") or []
        content = hashlib.sha256("\n".join(layers).encode()).hexdigest()
        for name in image.get("RepoTags") or []:
            found[name.rpartition(":")[2]] = {"id": image["Id"], "content": content}
    return found


def read_images(repository: str) -> dict[str, dict[str, str]]:
    """Return the images that this host has of a repository."""
    tags = output(["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", repository]).split()
    tags = [tag for tag in tags if not tag.endswith(":<none>")]
    if not tags:
        return {}
    found = images(json.loads(output(["docker", "image", "inspect", *tags]) or "[]"))
    wanted = {tag.rpartition(":")[2] for tag in tags}
    return {tag: image for tag, image in found.items() if tag in wanted}


def release(text: str) -> str:
    """Return the codename in the text of /etc/os-release, '' when it is no Debian."""
    pairs = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    values = {key: value.strip().strip('"') for key, value in pairs.items()}
    return values.get("VERSION_CODENAME", "") if values.get("ID") == "debian" else ""


def read(path: Path) -> str:
    """Return a file's text, '' when there is none."""
    return path.read_text(errors="replace") if path.exists() else ""


def digest(*paths: Path) -> str:
    """Return the SHA-256 of files, one behind the other; one that is not there has no bytes."""
    found = hashlib.sha256()
    for path in paths:
        found.update(path.read_bytes() if path.is_file() else b"")
    return found.hexdigest()


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "repository": {"type": "str", "required": True},
            "record": {"type": "path", "default": "/var/lib/perfctl/image.json"},
        },
        supports_check_mode=True,
    )
    module.exit_json(
        changed=False,
        has_zstd=shutil.which("zstd") is not None,
        programs=digest(*PROGRAMS),
        images=read_images(module.params["repository"]),
        machine=platform.machine(),
        release=release(read(Path("/etc/os-release"))),
        recorded=json.loads(read(Path(module.params["record"])) or "{}"),
    )


if __name__ == "__main__":
    main()
