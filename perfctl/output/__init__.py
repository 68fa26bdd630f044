"""What people and programs see: tables in four formats, progress, errors.

Table --render()--> text --emit()--> stdout        data, nothing else
events --progress()--> stderr                      a live display on a terminal, plain lines elsewhere
PerfctlError --print_error()--> stderr             what happened, where, what to do
"""

from perfctl.model.quantity import MISSING, counted, duration, number, percent, quantity
from perfctl.output.messages import print_error
from perfctl.output.progress import progress
from perfctl.output.table import FORMATS, Column, Format, Table, emit, format_option, render

__all__ = [
    "FORMATS",
    "MISSING",
    "Column",
    "Format",
    "Table",
    "counted",
    "duration",
    "emit",
    "format_option",
    "number",
    "percent",
    "print_error",
    "progress",
    "quantity",
    "render",
]
