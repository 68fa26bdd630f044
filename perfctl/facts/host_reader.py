"""Read files and run commands on a host, and print them as they are. The host's own Python runs it.

Standard library alone, Python 3.9 or newer; it is sent with each call: `python3 - REQUEST < host_reader.py`.
REQUEST is a `Request` of request.py as JSON. What is printed is packed by zlib: four bytes with the length of
the index, the index as JSON, then the contents of files and the outputs of commands, whose lengths the index
has. Nothing is judged here: what a text means is decided on the controller.

A process of its own reads the files, so that one that hangs is given up like a command that hangs. With a
second argument, the name of a container's control group, that process goes into the container first: nothing
runs in there, and the container needs no program for it.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import select
import signal
import stat
import struct
import sys
import time
import zlib
from collections.abc import Iterable, Iterator

TYPE_CHECKING = False
if TYPE_CHECKING:
    # Not there for the hosts: typing is slow to import.
    from collections.abc import Callable, Mapping
    from typing import Any

    Record = dict[str, Any]
    Reader = Callable[[str], tuple[bytes | None, str]]

_COMMAND_S = 4.0
"""A command that runs for longer is ended, and so is the reading of files when nothing comes for so long."""
_FILES_S = 30.0
"""All files together may take no longer."""
_AT_ONCE = 3
"""Commands at the same time."""
_MOST_BYTES = 16 << 20
"""Of one file or one output. More than that is as if it could not be read."""
_CHUNK_BYTES = 1 << 16
_REAP_S = 0.5
"""How long an ended process may take to go."""
_ASK_S = 0.005
_SBIN = ":/usr/local/sbin:/usr/sbin:/sbin"
_KILLED = 128 + signal.SIGKILL
_CGROUPS = "/sys/fs/cgroup"
_SELF = "/proc/self/"
_WITH_CONTENT = ("file", "digest", "variable")
"""Records whose first word is the length of a content that follows."""
_WITH_WORD = (*_WITH_CONTENT, "error", "program")


def main(request: Record, group: str = "") -> tuple[Record, list[bytes]]:
    """Return the index, and the contents that it has the lengths of.

    With `group` what is asked for is read in the container whose control group has that name.
    """
    files = start_reading(request, group)
    search_path = os.environ.get("PATH", os.defpath)
    located = {name: locate(name, search_path) for name in request["programs"]}
    commands = [command for one in request["commands"] for command in instances(one, located)]
    runner = Runner(files, commands, dict(os.environ, PATH=search_path + _SBIN, LC_ALL="C"))
    runner.run()
    index, contents = parse_records(bytes(files.out))
    index["outputs"] = []
    for key, code, out, err in runner.results:
        index["outputs"].append([key, code, len(out), len(err)])
        contents += [out, err]
    return index, contents


def locate(name: str, search_path: str) -> str | None:
    """Return where a program is found, None nowhere."""
    folders = [""] if "/" in name else search_path.split(":")
    for folder in folders:
        path = name if "/" in name else (folder or ".") + "/" + name
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def instances(command: Record, located: dict[str, str | None]) -> Iterator[Record]:
    """Yield the commands that one of the request stands for: one for each match, none without its program.

    `each` is a pattern; the part of each match at its first wildcard takes the place of {} in the command,
    unless a pattern of `but_not` has a match with the same part there.
    """
    if command.get("is_located"):
        path = located[command["argv"][0]]
        if path:
            yield dict(command, argv=[path, *command["argv"][1:]])
    elif command.get("each"):
        each = command["each"]
        at = next(at for at, part in enumerate(each.split("/")) if glob.has_magic(part))
        left_out = {part for pattern in command["but_not"] for part in parts(pattern, at)}
        for part in parts(each, at):
            if part not in left_out:
                argv = [word.replace("{}", part) for word in command["argv"]]
                yield dict(command, argv=argv, key=command["key"] + " " + part)
    else:
        yield command


def parts(pattern: str, at: int) -> list[str]:
    """Return one part of the path of everything that a pattern matches."""
    return [path.split("/")[at] for path in sorted(glob.glob(pattern), key=os.fsencode)]


# ---- a container, seen from its host ----------------------------------------------------------------------


class Inside:
    """The first process of a container, whose files this process reads from now on as its own.

    Paths, links, networks and control groups are then the container's; privileges, limits and memory stay
    the host's. What /proc/self says is read of the first process instead.
    """

    def __init__(self, group: str) -> None:
        """Raises OSError where there is no such process, or this one may not do that."""
        import ctypes
        import hashlib

        # What is loaded later would be the container's own: its libraries, run by the host's root.
        hashlib.sha256()
        libc = ctypes.CDLL(None, use_errno=True)
        self.folder = first_process(group)
        root = os.open("root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.folder)
        # /proc/sys/net and the names in /proc/PID/cgroup are those of who reads.
        for name in ("net", "cgroup"):
            with contextlib.suppress(FileNotFoundError):
                space = os.open(f"ns/{name}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.folder)
                if libc.setns(space, 0) != 0:
                    raise OSError(ctypes.get_errno(), f"cannot enter the {name} namespace")
        sys.meta_path.clear()
        os.fchdir(root)
        os.chroot(".")

    def environment(self) -> dict[str, str]:
        """Return the variables that the first process began with."""
        pairs = [pair.partition("=") for pair in text_of("environ", self.folder).split("\0")]
        # Of one that is there twice the first counts.
        return {name: value for name, _, value in reversed(pairs) if name}

    def read(self, path: str) -> tuple[bytes | None, str]:
        """Read a file, like the function of this name."""
        own, folder = (path[len(_SELF) :], self.folder) if path.startswith(_SELF) else (path, None)
        try:
            # An image may have a device in the place of a file, and it would be the host's.
            is_file = stat.S_ISREG(os.stat(own, dir_fd=folder).st_mode)
        except OSError:
            is_file = True
        return read(own, folder) if is_file else (None, "EINVAL")


def first_process(group: str) -> int:
    """Return the open folder in /proc of the process that a container began with.

    It has the container's control group, and the number 1 in a process namespace one below ours. Raises
    ProcessLookupError.
    """
    # A new container's is among the last.
    for name in sorted(filter(str.isdigit, os.listdir("/proc")), key=int, reverse=True):
        try:
            folder = os.open("/proc/" + name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        numbers = text_of("status", folder).partition("\nNSpid:")[2].partition("\n")[0]
        if numbers.split() == [name, "1"] and group in text_of("cgroup", folder):
            return folder
        os.close(folder)
    raise ProcessLookupError(errno.ESRCH, "no first process has the control group " + group)


# ---- files ------------------------------------------------------------------------------------------------


def start_reading(request: Record, group: str) -> Running:
    """Start a process that reads all files, and return it; `parse_records` reads what it prints."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return Running({"key": "files"}, pid, reader, None)
    status = 1
    try:
        os.setpgid(0, 0)
        with os.fdopen(writer, "wb") as pipe:
            for head, content in records(request, Inside(group) if group else None):
                pipe.write(os.fsencode(head) + b"\n" + content)
                # What was read must not be lost with the file that hangs.
                pipe.flush()
        status = 0
    finally:
        os._exit(status)


def records(request: Record, inside: Inside | None) -> Iterator[tuple[str, bytes]]:
    """Yield every variable, program and file as the head of its record and its content."""
    yield "begin ", b""
    environment: Mapping[str, str] = inside.environment() if inside else os.environ
    for name in request["variables"]:
        if name in environment:
            value = os.fsencode(environment[name])
            yield f"variable {len(value)} {name}", value
    search_path = environment.get("PATH", os.defpath)
    located = {name: locate(name, search_path) for name in request["programs"]}
    for name, path in located.items():
        yield f"program {name} {path or ''}", b""
    yield from file_records(request, inside.read if inside else read)
    for path in filter(None, located.values()):
        digest = sha256(path)
        if digest:
            yield f"digest {len(digest)} {path}", digest
    yield "end ", b""


def file_records(request: Record, reader: Reader) -> Iterator[tuple[str, bytes]]:
    """Yield the records of files, by the patterns that they are asked for by."""
    for pattern in request["files"]:
        yield "pattern " + pattern, b""
        actual = pattern.replace("{release}", os.uname().release)
        # A pattern without a match is read like a file: the error says whether that could be seen at all.
        found = sorted(glob.glob(actual), key=os.fsencode) if glob.has_magic(actual) else []
        for path in found or [actual]:
            yield record(path, reader)
    for path in own_cgroup_files(request["cgroup_files"], reader):
        yield "pattern " + path, b""
        yield record(path, reader)
    for pattern in request["listed"]:
        for path in sorted(glob.glob(pattern), key=os.fsencode):
            if "\n" not in path:
                yield "there " + path, b""


def own_cgroup_files(names: Iterable[str], reader: Reader) -> Iterator[str]:
    """Yield the path of each CONTROLLER/FILE in the own control group; version 2 is the controller '.'."""
    content, _ = reader("/proc/self/cgroup")
    for line in os.fsdecode(content or b"").split("\n"):
        _, _, rest = line.partition(":")
        controllers, _, own = rest.partition(":")
        # The root's files are asked for by their paths.
        for controller in (controllers or ".").split(",") if own.strip("/") else ():
            for name in names:
                if name.split("/")[0] == controller:
                    yield "/".join([_CGROUPS, controller + own.rstrip("/"), name.split("/")[1]])


def record(path: str, reader: Reader) -> tuple[str, bytes]:
    """Return the record of a file, or of the error that it could not be read for."""
    content, error = reader(path) if "\n" not in path else (None, "EINVAL")
    if content is None:
        return f"error {error} {path}", b""
    return f"file {len(content)} {path}", content


def read(path: str, folder: int | None = None) -> tuple[bytes | None, str]:
    """Return the content of a file, in an open folder if one is given.

    None where it cannot be read, with the name of the error.
    """
    content = b""
    try:
        # What somebody put there may be a FIFO.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        try:
            while len(content) <= _MOST_BYTES:
                piece = os.read(file, _CHUNK_BYTES)
                if not piece:
                    return content, ""
                content += piece
        finally:
            os.close(file)
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", None) or errno.EINVAL
        return None, errno.errorcode.get(number, str(number))
    return None, "EFBIG"


def text_of(path: str, folder: int) -> str:
    """Return the text of a file in an open folder, '' where it cannot be read."""
    return os.fsdecode(read(path, folder)[0] or b"")


def sha256(path: str) -> bytes | None:
    """Return the digest of a program in hexadecimal; None where it cannot be read."""
    import hashlib

    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            for piece in iter(lambda: file.read(1 << 20), b""):
                digest.update(piece)
    except OSError:
        return None
    return digest.hexdigest().encode()


def parse_records(data: bytes) -> tuple[Record, list[bytes]]:
    """Return index and contents of what `records` printed; it may be cut anywhere."""
    index: Record = {"has_begun": False, "is_whole": False, "files": [], "there": [], "variables": {}}
    programs: Record = {}
    digests: Record = {}
    contents: list[bytes] = []
    for kind, word, name, content in split_records(data):
        if kind == "file":
            index["files"][-1][1].append([name, len(content)])
            contents.append(content)
        elif kind == "error":
            index["files"][-1][1].append([name, word])
        elif kind == "pattern":
            index["files"].append([name, []])
        elif kind == "there":
            index["there"].append(name)
        elif kind == "variable":
            index["variables"][name] = os.fsdecode(content)
        elif kind == "program":
            programs[word] = name or None
        elif kind == "digest":
            digests[name] = content.decode()
        else:
            index["has_begun" if kind == "begin" else "is_whole"] = True
    index["programs"] = {name: [path, digests.get(path)] for name, path in programs.items()}
    return index, contents


def split_records(data: bytes) -> Iterator[tuple[str, str, str, bytes]]:
    """Yield kind, word, name and content of each record that is whole."""
    at = 0
    while True:
        end = data.find(b"\n", at)
        if end < 0:
            return
        kind, _, rest = os.fsdecode(data[at:end]).partition(" ")
        word, _, name = rest.partition(" ") if kind in _WITH_WORD else ("", "", rest)
        at = end + 1 + (int(word) if kind in _WITH_CONTENT else 0)
        if at > len(data):
            return
        yield kind, word, name, data[end + 1 : at]


# ---- commands ---------------------------------------------------------------------------------------------


class Running:
    """A process, and what it has printed so far."""

    def __init__(self, command: Record, pid: int, out: int, err: int | None) -> None:
        self.command = command
        self.pid = pid
        self.out = bytearray()
        self.err = bytearray()
        self.pipes = {out: self.out}
        if err is not None:
            self.pipes[err] = self.err
        self.since = time.monotonic()
        self.deadline = self.since + _COMMAND_S
        self.is_files = err is None
        self.is_too_long = False

    def take(self, pipe: int) -> bool:
        """Read what came on a pipe, and return whether it is still open."""
        data = os.read(pipe, _CHUNK_BYTES)
        if not data:
            os.close(pipe)
            del self.pipes[pipe]
            return False
        kept = self.pipes[pipe]
        kept += data
        last_bytes = self.command.get("last_bytes")
        if last_bytes:
            del kept[:-last_bytes]
        elif len(kept) > _MOST_BYTES and not self.is_files:
            self.is_too_long = True
            self.deadline = 0.0
        if self.is_files:
            self.deadline = min(time.monotonic() + _COMMAND_S, self.since + _FILES_S)
        return True

    def code(self) -> int | None:
        """Return the exit code, None while it runs."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            return None
        return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

    def end(self) -> int:
        """End it with its children, and return its exit code; one that cannot be ended is left behind."""
        for pipe in list(self.pipes):
            os.close(pipe)
        self.pipes.clear()
        with contextlib.suppress(OSError):
            os.killpg(self.pid, signal.SIGKILL)
        give_up = time.monotonic() + _REAP_S
        while time.monotonic() < give_up:
            code = self.code()
            if code is not None:
                return _KILLED if self.is_too_long else code
            time.sleep(0.002)
        return _KILLED


class Runner:
    """Runs commands, a few at a time, while the files are read; what hangs is ended."""

    def __init__(self, files: Running, commands: Iterable[Record], environment: dict[str, str]) -> None:
        """`environment` is that of the commands."""
        self.results: list[tuple[str, int | None, bytes, bytes]] = []
        self._waiting = list(commands)
        self._running: list[Running] = []
        self._environment = environment
        self._poller = select.poll()
        self._add(files)

    def run(self) -> None:
        """Run all of them; `results` then has key, exit code (None: it is not there) and outputs of each."""
        while self._waiting or self._running:
            # The files are one more.
            while self._waiting and len(self._running) <= _AT_ONCE:
                self._start(self._waiting.pop(0))
            self._read()
            for one in list(self._running):
                self._end_if_done(one)

    def _start(self, command: Record) -> None:
        started = start(command, self._environment)
        if started is None:
            self._finish(command, None, b"", b"")
        else:
            self._add(started)

    def _add(self, one: Running) -> None:
        self._running.append(one)
        for pipe in one.pipes:
            self._poller.register(pipe, select.POLLIN)

    def _read(self) -> None:
        """Read what has come; wait for it no longer than to the next deadline."""
        owners = {pipe: one for one in self._running for pipe in one.pipes}
        left_s = min([one.deadline for one in self._running], default=0.0) - time.monotonic()
        if any(not one.pipes for one in self._running):
            # It has closed its outputs and still runs: nothing but asking says when it ends.
            left_s = min(left_s, _ASK_S)
        for pipe, _ in self._poller.poll(max(0.0, left_s) * 1000):
            if not owners[pipe].take(pipe):
                self._poller.unregister(pipe)

    def _end_if_done(self, one: Running) -> None:
        code = None if one.pipes else one.code()
        if code is None and one.deadline <= time.monotonic():
            for pipe in one.pipes:
                self._poller.unregister(pipe)
            code = one.end()
        if code is not None:
            self._running.remove(one)
            if not one.is_files:
                self._finish(one.command, code, bytes(one.out), bytes(one.err))

    def _finish(self, command: Record, code: int | None, out: bytes, err: bytes) -> None:
        self.results.append((command["key"], code, out, err))
        instead = command.get("instead")
        if instead and (code != 0 or not out.strip()):
            self._waiting.append(instead)


def start(command: Record, environment: dict[str, str]) -> Running | None:
    """Start a command; None when it is not there, or cannot be run."""
    path = locate(command["argv"][0], environment["PATH"])
    if path is None:
        return None
    out, out_end = os.pipe()
    err, err_end = os.pipe()
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, out_end, 1),
        (os.POSIX_SPAWN_DUP2, err_end, 2),
    ]
    try:
        # A group of its own: what it started ends with it. Python ignores SIGPIPE, a command must not.
        pid = os.posix_spawn(
            path,
            command["argv"],
            environment,
            file_actions=actions,
            setpgroup=0,
            setsigdef=[signal.SIGPIPE],
        )
    except (OSError, ValueError):
        os.close(out)
        os.close(err)
        return None
    finally:
        os.close(out_end)
        os.close(err_end)
    return Running(command, pid, out, err)


if __name__ == "__main__":
    answer, attached = main(json.loads(sys.argv[1]), *sys.argv[2:])
    text = json.dumps(answer).encode()
    packed = zlib.compress(b"".join([struct.pack(">I", len(text)), text, *attached]), 1)
    sys.stdout.buffer.write(packed)
    sys.stdout.buffer.flush()
