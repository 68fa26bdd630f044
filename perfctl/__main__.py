"""The way in: run the command line, and turn every error and signal into words and an exit code, once."""

from __future__ import annotations

import atexit
import errno
import gc
import os
import signal
import sys
import time
import traceback
from types import FrameType

import click

from perfctl.cli import main_group
from perfctl.errors import PerfctlError, UsageError
from perfctl.redaction import register_environment
from perfctl.streams import discard, safe_streams

_WORDS = {signal.SIGHUP: "hung up", signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_SAME_END_S = 2.0
"""A closing terminal, its shell and `timeout` send a signal twice; the second must not cut the clean-up."""
_PATIENCE_S = 5.0
"""How long the last words wait for a reader of stderr who reads nothing."""
_PATIENCE_AT_SIGNAL_S = 0.5
_GARBAGE_AT = 20_000
"""So many new objects make Python look for garbage; 700 would be usual."""
_HINTS = {
    errno.EMFILE: "raise the limit of open files: ulimit -n 4096",
    errno.ENFILE: "end other programs: the system has no more open files",
    errno.ENOSPC: "free some space, then try again",
    errno.EDQUOT: "free some of your quota, then try again",
}


class _Ended(SystemExit):
    """SIGTERM or SIGHUP came; unwinds like Ctrl-C so that containers and jobs are cleaned up."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = signal.Signals(number)


def main(args: list[str] | None = None) -> None:
    """Run perfctl with `args` (default: the process's own) and exit with its code."""
    arguments = sys.argv[1:] if args is None else args
    register_environment(os.environ)
    with safe_streams() as stderr:
        _catch_signals()
        patience_s = _PATIENCE_S
        try:
            code = _exit_code(arguments)
        except (KeyboardInterrupt, click.exceptions.Abort, _Ended) as end:
            number = end.number if isinstance(end, _Ended) else signal.SIGINT
            click.echo(f"perfctl: {_WORDS[number]}", err=True)
            code, patience_s = 128 + number, _PATIENCE_AT_SIGNAL_S
        if stderr is not None:
            stderr.drain(patience_s)
            if code:
                # What is still buffered must not wait for a reader, or fail, once more.
                discard(sys.stdout.fileno())
    sys.exit(code)


def _exit_code(arguments: list[str]) -> int:
    """Run the command and print its error; return the exit code."""
    try:
        code = main_group.main(args=arguments, prog_name="perfctl", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Abort:
        raise
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except Exception as error:  # noqa: BLE001 (the last door)
        if "--debug" in arguments:
            traceback.print_exc()
        from perfctl.output import print_error

        known = _known(error)
        print_error(known)
        return known.exit_code
    return code if isinstance(code, int) else 0


def _known(error: Exception) -> PerfctlError:
    """Return an error with words for users."""
    if isinstance(error, PerfctlError):
        return error
    if isinstance(error, UnicodeEncodeError):
        # Bytes of the command line that are no UTF-8 are fine in a path, and nowhere else.
        return UsageError(f"this is not UTF-8 text: {error.object!a}", hint="type it in UTF-8")
    if isinstance(error, OSError):
        where = None if error.filename is None else os.fsdecode(error.filename)
        return PerfctlError(
            error.strerror or str(error),
            where=where,
            hint=_HINTS.get(error.errno or 0, "see perfctl --debug ..."),
        )
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "perfctl" in frame.filename]
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None
    hint = "please report it, with the traceback that `perfctl --debug ...` shows"
    return PerfctlError(f"internal error: {type(error).__name__}: {error}", where=where, hint=hint)


def _catch_signals() -> None:
    """Have SIGTERM and SIGHUP end the command as Ctrl-C does, unless the caller ignores them (nohup)."""
    last = -_SAME_END_S

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal last
        if time.monotonic() - last < _SAME_END_S:
            return
        last = time.monotonic()
        raise KeyboardInterrupt if number == signal.SIGINT else _Ended(number)

    for number in _WORDS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)
    # What modules make while they are imported stays; looking through it again and again takes a thirtieth.
    gc.set_threshold(_GARBAGE_AT)
    # What was done is done, and its exit code stands: one that comes while Python ends would kill it.
    atexit.register(_ignore_signals)
    # What is left goes with the process; to look through all of it first takes an eighth of a short command.
    atexit.register(gc.freeze)


def _ignore_signals() -> None:
    for number in _WORDS:
        signal.signal(number, signal.SIG_IGN)


if __name__ == "__main__":
    main()
