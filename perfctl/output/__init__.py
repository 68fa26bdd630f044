"""The terminal: progress and errors on stderr, and text made safe to show.

events --progress()--> stderr                      a live display on a terminal, lines elsewhere
PerfctlError --print_error()--> stderr             what happened, where, what to do
"""

from perfctl.output.messages import print_error, wants_color
from perfctl.output.progress import progress
from perfctl.output.text import visible

__all__ = ["print_error", "progress", "visible", "wants_color"]
