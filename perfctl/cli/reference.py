"""Pages made of the help of every command; write them anew after a change of any option:

python -m perfctl.cli.reference > docs/cli.md
python -m perfctl.cli.reference --man > docs/perfctl.1
"""

from __future__ import annotations

import sys

import click

from perfctl import __version__
from perfctl.cli import main_group
from perfctl.output.manual import man_page, markdown_page


def reference() -> str:
    """Return docs/cli.md."""
    return markdown_page(main_group)


def manual() -> str:
    """Return docs/perfctl.1."""
    return man_page(main_group, __version__)


if __name__ == "__main__":
    click.echo(manual() if sys.argv[1:] == ["--man"] else reference(), nl=False)
