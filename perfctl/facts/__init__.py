"""Read facts: what was true of a host, or inside an environment, when it was measured.

    read_host()    registry -> request -> host_reader.py, by the host's Python --> raw -> Fingerprint
    read_inside()  registry -> request -> inside.sh, through any Shell         --> raw -> Fingerprint
                                       -> host_reader.py, for a container's files

Files and outputs are sent as they are; `parsers` makes the facts' texts of them, and `values` knows what a
text means: `value_of(facts, name, value_class)`. Nothing is installed and nothing is cached on the host.
docs/facts.md has the table.

`host` answers questions about a host by its fingerprint; `perfctl.validity` judges by them.
"""

from __future__ import annotations

from perfctl.facts.changes import RunChange, changes_of
from perfctl.facts.differences import FactChange, diff
from perfctl.facts.on_host import ContainerOnHost
from perfctl.facts.reading import read_host, read_inside
from perfctl.facts.registry import REGISTRY, FactSpec, read_value, value_of

__all__ = [
    "REGISTRY",
    "ContainerOnHost",
    "FactChange",
    "FactSpec",
    "RunChange",
    "changes_of",
    "diff",
    "read_host",
    "read_inside",
    "read_value",
    "value_of",
]
