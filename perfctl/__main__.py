"""The way in: run the command line, and turn every error into words and an exit code, once."""

from __future__ import annotations

import signal
import sys
from types import FrameType

import click

from perfctl.cli import main_group
from perfctl.errors import PerfctlError


class _Terminated(BaseException):
    """SIGTERM came; unwinds like Ctrl-C so that containers and jobs are cleaned up."""


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise _Terminated


def main(args: list[str] | None = None) -> None:
    """Run perfctl with `args` (default: the process's own) and exit with its code."""
    arguments = sys.argv[1:] if args is None else args
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = main_group.main(args=arguments, prog_name="perfctl", standalone_mode=False)
    except click.exceptions.Abort:
        code = _say("interrupted", 130)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except PerfctlError as error:
        if "--debug" in arguments:
            import traceback

            traceback.print_exc()
        from perfctl.output import print_error

        print_error(error)
        code = error.exit_code
    except KeyboardInterrupt:
        code = _say("interrupted", 130)
    except _Terminated:
        code = _say("terminated", 143)
    except BrokenPipeError:
        # The reader of our output (head, less) went away; that is its right.
        sys.stderr.close()
        code = 0
    sys.exit(code if isinstance(code, int) else 0)


def _say(word: str, code: int) -> int:
    click.echo(f"perfctl: {word}", err=True)
    return code


if __name__ == "__main__":
    main()
