"""Tables on standard output: as wide as a terminal, whole in a pipe."""

import sys
from collections.abc import Iterable, Sequence
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.text import printable

# A pipe has no width: nothing is cut there, and a row stays one line.
UNBOUNDED = 100_000
# A longer text is wrapped, between its words, where there is no room for it.
SENTENCE = 20


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
    _console().print(table)


def show_rows(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    title: str | None = None,
    text_columns: int = 1,
) -> None:
    """Print rows of text; the columns right of the first `text_columns` hold numbers.

    On a terminal that would break words, a row becomes a column, and as many stand side by side
    as it has room for.
    """
    held = list(rows)
    table = new_table(title)
    for index, (heading, *cells) in enumerate(zip(headings, *held, strict=True)):
        _add_column(table, heading, cells, "left" if index < text_columns else "right")
    for row in held:
        table.add_row(*map(cell, row))
    if _fits(table):
        show(table)
    else:
        _show_turned(headings, held, title)


def _show_turned(headings: Sequence[str], rows: Sequence[Sequence[str]], title: str | None) -> None:
    while rows:
        counts = range(len(rows), 0, -1)
        count = next((n for n in counts if _fits(_turned(headings, rows[:n]))), 0)
        # Where there is no room for one row, words have to be broken after all.
        show(_turned(headings, rows[: count or 1], title, whole=count > 0))
        rows, title = rows[count or 1 :], None


def _turned(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    title: str | None = None,
    *,
    whole: bool = True,
) -> Table:
    """Return a table with a column for each row."""
    table = new_table(title)
    for heading, *cells in (headings, *rows):
        _add_column(table, heading, cells, whole=whole)
    for line in list(zip(headings, *rows, strict=True))[1:]:
        table.add_row(*map(cell, line))
    return table


def _add_column(
    table: Table,
    heading: str,
    cells: Sequence[str],
    justify: Literal["left", "right"] = "left",
    *,
    whole: bool = True,
) -> None:
    """Add a column that keeps its words whole, and its texts unless they are sentences."""
    texts = [cell(text) for text in (heading, *cells)]
    sentences = any(" " in text.plain and text.cell_len > SENTENCE for text in texts)
    if sentences or not whole:
        table.add_column(texts[0], justify=justify, overflow="fold")
    else:
        width = max(text.cell_len for text in texts)
        table.add_column(texts[0], justify=justify, no_wrap=True, min_width=width)


def _fits(table: Table) -> bool:
    console = _console()
    unbounded = console.options.update(max_width=UNBOUNDED)  # a measurement ends at this width
    return console.measure(table, options=unbounded).minimum <= console.width


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else UNBOUNDED, highlight=False)
