"""Print three lines about the Python that runs it: version, build, packages. `python3 -c` gets it as text.

Wherever benchmarks run it is whatever Python 3 is there. Neither json nor sysconfig is imported: that takes
longer than all the rest, and a dict or list prints as text.
"""

import os
import sys

NAMES = ["CONFIG_ARGS", "OPT", "PY_CFLAGS", "PY_LDFLAGS", "Py_GIL_DISABLED", "WITH_PYMALLOC", "Py_DEBUG"]


def build() -> "dict[str, object]":
    """Return how it was built, and the size and time of its executable."""
    try:
        multiarch = getattr(sys.implementation, "_multiarch", "")
        name = f"_sysconfigdata_{sys.abiflags}_{sys.platform}_{multiarch}"
        known = __import__(name).build_time_vars
    except ImportError:
        from sysconfig import get_config_vars

        known = get_config_vars()
    found = {name: known.get(name) for name in NAMES}
    jit = getattr(sys, "_jit", None)
    found["jit"] = jit and {name: getattr(jit, name)() for name in ("is_available", "is_enabled")}
    stat = os.stat(sys.executable)
    found["executable"] = f"{sys.executable}, {stat.st_size} bytes, changed {int(stat.st_mtime)}"
    return found


def packages() -> "list[str]":
    """Return the installed packages with their versions."""
    found = set()
    for folder in sys.path:
        for entry in os.listdir(folder) if os.path.isdir(folder) else ():
            if entry.endswith((".dist-info", ".egg-info")):
                found.add("==".join(entry.rsplit(".", 1)[0].split("-")[:2]))
    return sorted(found)


if __name__ == "__main__":
    print(" ".join(sys.version.split()))
    print(build())
    print(packages())
