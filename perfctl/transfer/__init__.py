"""Move results between databases of any two engines, and into one file that can be checked without one.

    merge(source, target)             every run of one database into another
    write_bundle, verify_bundle, import_bundle     one run as one file

    rules.py       of each table: its key, what may change after it was written, which rows belong to a run
    merge.py       compare two databases, then copy what is new: all of it or nothing
    bundle.py      write, verify and import a bundle     archive.py     the file that it is
    signature.py   sign and check a manifest with ssh-keygen

Rows have the same key everywhere (docs/database.md), so what was merged before is recognised.
docs/transfer.md describes what is moved, and the format of a bundle.
"""

from __future__ import annotations

from perfctl.transfer.bundle import import_bundle, verify_bundle, write_bundle
from perfctl.transfer.merge import Merged, merge

__all__ = ["Merged", "import_bundle", "merge", "verify_bundle", "write_bundle"]
