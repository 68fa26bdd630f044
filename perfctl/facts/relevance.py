"""How likely a fact that differs explains a figure that differs: a table, read from the top. Pure."""

from __future__ import annotations

import re

SUBJECTS: tuple[tuple[str, str], ...] = (
    ("programs", r"tool\.(?!perfctl-launch).+\.(sha256|version)|image\.id|environment\.image\.id"),
    ("interpreter", r"python\.(?!packages).+"),
    ("allocator and libc", r"libc\..+|env\..+"),
    ("seccomp", r"task\.seccomp.*|environment\.seccomp_profile\..+|.*host_config\.SecurityOpt"),
    (
        "security",
        r"task\.(no_new_privs|cap_eff|speculation_.+)|lsm\..+|environment\.label"
        r"|.*host_config\.(Cap.+|Privileged|ReadonlyRootfs|UsernsMode)|cpu\.vulnerabilities",
    ),
    ("limits", r"task\.(cpus_allowed|mems_allowed|limits)|cgroup\..+|environment\.limits\..+"),
    ("kernel", r"kernel\..+|memory\.thp.*|time\.current_clocksource"),
    ("processor", r"cpu\.(?!mhz$).+|numa\..+|memory\..+"),
    ("packages", r"python\.packages|os\.release"),
    ("engine", r"environment\..+|engine\..+"),
    ("network and storage", r"net\..+|storage\..+"),
)
"""What a fact is about, the most relevant first, and the names of the facts that are about it."""
OTHER = "other"


def relevance(name: str) -> tuple[int, str]:
    """Return the place of a fact among all, 0 for the most relevant, and what it is about."""
    for place, (subject, pattern) in enumerate(SUBJECTS):
        if re.fullmatch(pattern, name):
            return place, subject
    return len(SUBJECTS), OTHER
