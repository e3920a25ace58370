"""Tables on standard output: as wide as a terminal, whole in a pipe."""

import sys
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.text import printable

# A pipe has no width: nothing is cut there, and a row stays one line.
UNBOUNDED = 100_000


def new_table(title: str | None = None) -> Table:
    """Return a table without columns, in the style that all share."""
    return Table(
        title=title and cell(title),
        title_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )


def cell(text: str, style: str = "") -> Text:
    """Return text for a cell: printable, and nothing in it is taken for rich's markup."""
    return Text(printable(text), style)


def show(table: Table) -> None:
    """Print a table."""
    if sys.stdout is None:  # it was closed before the start
        return
    Console(width=None if sys.stdout.isatty() else UNBOUNDED, highlight=False).print(table)


def show_rows(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    title: str | None = None,
    text_columns: int = 1,
) -> None:
    """Print rows of text; the columns right of the first `text_columns` hold numbers."""
    table = new_table(title)
    for index, heading in enumerate(headings):
        justify = "left" if index < text_columns else "right"
        table.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*map(cell, row))
    show(table)
