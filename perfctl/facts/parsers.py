"""Parse the text of files and commands into the text of facts: one pure function for each kind of file.

A parser gets what was read and returns the fact's text, or None where that is not in it. Equal CPUs are one
line, however many there are: `performance: 0-63`.
"""

from __future__ import annotations

import hmac
import posixpath
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from perfctl.facts.raw import RawFile, text_of

_MACHINE_ID = re.compile("[0-9a-f]{32}")
_MOST_BYTES = 1 << 24
"""A kernel's configuration is smaller, also unpacked."""


def whole(lines: Sequence[str]) -> str:
    """Return the text of a file."""
    return "\n".join(lines)


def first_line(lines: Sequence[str]) -> str:
    """Return the first line."""
    return next(iter(lines), "")


def label(lines: Sequence[str]) -> str | None:
    """Return the label of a security module, which ends in a byte 0; None without one: it is never empty."""
    return whole(lines).replace("\0", "").rstrip("\n") or None


def machine_id(lines: Sequence[str]) -> str | None:
    """Return what stands for a machine's id; None where it has none yet (it is empty, or 'uninitialized').

    The id itself is confidential by its manual page, and a database is passed on to others: it is the key of
    a hash that no other program makes.
    """
    text = first_line(lines).strip()
    if not _MACHINE_ID.fullmatch(text):
        return None
    return hmac.new(bytes.fromhex(text), b"perfctl", "sha256").hexdigest()[:32]


class Field:
    """What follows 'KEY:' at the start of a line."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __call__(self, lines: Sequence[str]) -> str | None:
        """Return the field's text, None where it is not there."""
        found = [line.partition(":")[2].lstrip(" \t") for line in lines if line.startswith(f"{self.key}:")]
        return "\n".join(found) if found else None


# ---- many files ----------------------------------------------------------------------------------------


def folder(files: Sequence[RawFile]) -> str | None:
    """Return lines 'file: text' of all files of a folder."""
    found = [f"{posixpath.basename(file.path)}: {line}" for file in files for line in file.lines]
    return "\n".join(found) if found else None


class Spread:
    """Lines 'text: who', who being the part of the path at the pattern's first wildcard.

    The part at a second wildcard goes before the text: 'index0=32K: 0-1'.
    """

    def __init__(self, pattern: str) -> None:
        self._at = [at for at, part in enumerate(pattern.split("/")) if "*" in part]

    def __call__(self, files: Sequence[RawFile]) -> str | None:
        """Return one line for each text, None where there is none."""
        holders: dict[str, list[str]] = {}
        for file in files:
            parts = file.path.split("/")
            who, *others = [part for at, part in enumerate(parts) if at in self._at] or [""]
            if re.match(r"(loop|ram|zram)[0-9]", who):
                continue
            part = f"{others[-1]}=" if others else ""
            for line in file.lines:
                holders.setdefault(part + line, []).append(who)
        return _grouped(holders)


class Processes:
    """Lines 'name: how many' of the processes whose name matches."""

    def __init__(self, names: str) -> None:
        self.names = names
        self._names = re.compile(names)

    def __call__(self, files: Sequence[RawFile]) -> str | None:
        """Return the processes, '' where there are none, None where no process could be seen."""
        if not any(file.content is not None for file in files):
            return None
        counts = Counter(line for file in files for line in file.lines if self._names.search(line))
        return "\n".join(f"{name}: {count}" for name, count in counts.items())


# ---- CPUs ----------------------------------------------------------------------------------------------


class CpuInfo:
    """Lines 'text: CPUs' of /proc/cpuinfo, for the first word of several keys with '|' between.

    Lines before and after the CPUs' own are 'text: all'. The key 'processor N' is a CPU's line on s390.
    """

    def __init__(self, keys: str) -> None:
        self.keys = keys
        self._keys = frozenset(keys.split("|"))

    def __call__(self, lines: Sequence[str]) -> str | None:
        """Return one line for each text, None where no key is there."""
        holders: dict[str, list[str]] = {}
        cpu = "all"
        for line in lines:
            if not line:
                cpu = "all"
            key, colon, text = line.partition(":")
            key, text = key.rstrip(" \t"), text.lstrip(" \t")
            if not colon:
                continue
            if key in ("processor", "cpu number"):
                cpu = f"cpu{text}"
            who = cpu
            if key.startswith("processor ") and (numbered := re.fullmatch(r"processor ([0-9]+)", key)):
                who, key = f"cpu{numbered[1]}", "processor N"
            if key in self._keys:
                holders.setdefault(text, []).append(who)
        return _grouped(holders)


def _grouped(holders: Mapping[str, Sequence[str]]) -> str | None:
    lines = [f"{text}: {ranges(who)}" for text, who in holders.items()]
    return "\n".join(lines) if lines else None


def ranges(names: Sequence[str]) -> str:
    """Return 'cpu0', 'cpu1', 'cpu3' as '0-1,3', and other names with commas between."""
    if not re.match(r"cpu[0-9]", names[0]):
        return ",".join(names)
    numbers = sorted(_leading_number(name.removeprefix("cpu")) for name in names)
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in found)


def _leading_number(text: str) -> int:
    match = re.match(r"[0-9]{1,9}", text)
    return int(match[0]) if match else 0


# ---- mounts --------------------------------------------------------------------------------------------

_STORAGE = re.compile(r"(ext[234]|xfs|btrfs|zfs|nfs.*|cifs|f2fs|9p|virtiofs|bcachefs)")
_KERNELS_OWN = re.compile(
    r"(proc|sysfs|cgroup2?|devpts|mqueue|nsfs|(security|debug|trace|config|hugetlb|efivar)fs|pstore|bpf"
    r"|binfmt_misc|rpc_pipefs|fusectl)"
)


def mounts(lines: Sequence[str]) -> str:
    """Return real file systems; the layers of an overlay are its engine's business."""
    found = []
    for source, path, kind, options in _mounted(lines):
        if _is_storage(path, kind):
            shown = re.sub(r",lowerdir=.*", "", options) if kind == "overlay" else options
            found.append(f"{source} {path} {kind} {shown}")
    return "\n".join(found)


def other_mounts(lines: Sequence[str]) -> str:
    """Return lines 'type path' of what else is mounted, but for the kernel's own."""
    return "\n".join(
        f"{kind} {path}"
        for _, path, kind, _ in _mounted(lines)
        if not _is_storage(path, kind) and not _KERNELS_OWN.fullmatch(kind)
    )


def _mounted(lines: Iterable[str]) -> Iterator[tuple[str, str, str, str]]:
    for line in lines:
        source, path, kind, options, *_ = [*line.split(), "", "", "", ""]
        yield source, path, kind, options


def _is_storage(path: str, kind: str) -> bool:
    return path == "/" if kind == "overlay" else _STORAGE.fullmatch(kind) is not None


# ---- the kernel ----------------------------------------------------------------------------------------

_CONFIG_LINES = re.compile(r"(# )?CONFIG_(HZ|HZ_[0-9]+|PREEMPT[A-Z_]*|NO_HZ[A-Z_]*)[= ]")


@lru_cache(maxsize=16)
def kernel_config(content: bytes) -> str | None:
    """Return the timer and preemption lines of a kernel's configuration, packed or not.

    Kept: the hosts of a fleet have few kernels, and unpacking one took a tenth of the time for all facts.
    """
    if content.startswith(b"\x1f\x8b"):
        try:
            content = zlib.decompressobj(wbits=31).decompress(content, _MOST_BYTES)
        except zlib.error:
            return None
    return "\n".join(filter(_CONFIG_LINES.match, text_of(content).split("\n"))) or None


def log_tail(text: str) -> str:
    """Return the last lines of the kernel's log but its complaints about our own look at kernel.preempt."""
    lines = [line for line in text.split("\n") if "debugfs access is restricted" not in line]
    return "\n".join(lines[-5:])


# ---- commands ------------------------------------------------------------------------------------------


def rule_count(text: str) -> str:
    """Return how many rules iptables-save has printed."""
    return str(text.count("\n-A "))


def musl_version(text: str) -> str | None:
    """Return the version that musl's ldd prints before its help, or glibc's; None where it is neither."""
    return text.partition("\nDynamic")[0] if "libc" in text else None


class Line:
    """One line of an output, counted from 0; the last one is all that follows."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, text: str) -> str:
        """Return the line."""
        rest = text
        for _ in range(self.number):
            head, newline, rest = rest.partition("\n")
            rest = rest if newline else head
        return rest.partition("\n")[0]


# ---- interfaces ----------------------------------------------------------------------------------------

_NET = "/sys/class/net"


def links(files: Sequence[RawFile], there: Iterable[str]) -> str | None:
    """Return what of each interface decides its speed: 'eth0 mtu=1500 master=br0 DRIVER=igb'.

    Virtual ends of containers come and go and are left out. So are speed and ports of a bridge.
    """
    texts = {file.path: file.lines for file in files if file.content is not None}
    exist = {tuple(path.split("/")[4:]) for path in there if path.startswith(f"{_NET}/")}
    names = [name for path in texts for name in re.findall(rf"{_NET}/([^/]+)/mtu", path)]
    names = sorted(name for name in names if not name.startswith("veth"))
    found = []
    for name in names:
        is_bridge = (name, "bridge") in exist
        words = [name]
        for attribute in ("mtu", "tx_queue_len") if is_bridge else ("mtu", "tx_queue_len", "speed", "duplex"):
            if value := first_line(texts.get(f"{_NET}/{name}/{attribute}", [])):
                words.append(f"{attribute}={value}")
        words += [f"master={path[0]}" for path in sorted(exist) if path[1:] == ("brif", name)]
        lower = sorted(
            path[1].removeprefix("lower_")
            for path in exist
            if len(path) == 2 and path[0] == name and path[1].startswith("lower_") and not is_bridge
        )
        words += [f"lower={','.join(lower)}"] if lower else []
        for events in ("uevent", "device/uevent"):
            for line in texts.get(f"{_NET}/{name}/{events}", []):
                if line.partition("=")[0] in ("DEVTYPE", "DRIVER"):
                    words.append(line)
        found.append(" ".join(words))
    return "\n".join(found) if found else None
