"""What the command line prints: a table to read, or JSON lines for programs."""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from clients.classify import FileOutcome, Outcome
from clients.types import ClassScore, ImageFailure

# A pipe has no width: nothing is cut there, and a row stays one line.
UNBOUNDED = 100_000


def progress(outcomes: Iterable[FileOutcome], total: int, *, shown: bool) -> Iterator[FileOutcome]:
    """Pass the outcomes on and draw a bar on standard error meanwhile, where it is a terminal."""
    console = Console(stderr=True)
    hidden = not (shown and console.is_terminal)
    # Redirecting would send our own output to standard error too.
    with Progress(console=console, transient=True, redirect_stdout=False, disable=hidden) as bar:
        yield from bar.track(outcomes, total=total, description="Classifying")


def print_json(outcomes: Iterable[FileOutcome]) -> int:
    """Print a JSON object per file as it comes; return how many failed."""
    failures = 0
    for path, outcome in outcomes:
        print(json.dumps({"path": str(path)} | _members(outcome)), flush=True)
        failures += isinstance(outcome, ImageFailure)
    return failures


def print_table(outcomes: Iterable[FileOutcome]) -> int:
    """Print a row per file: name, first class, probability, next classes; return failures."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("Image", overflow="fold")
    table.add_column("Class", overflow="fold", style="bold")
    table.add_column("Probability", justify="right", no_wrap=True)
    table.add_column("Next", overflow="fold")
    failures = 0
    for path, outcome in outcomes:
        table.add_row(*_row(path, outcome))
        failures += isinstance(outcome, ImageFailure)
    Console(width=None if sys.stdout.isatty() else UNBOUNDED).print(table)
    return failures


def _members(outcome: Outcome) -> dict[str, object]:
    if isinstance(outcome, ImageFailure):
        return {"error": str(outcome)}
    return {"classes": [asdict(score) for score in outcome.classes]}


def _row(path: Path, outcome: Outcome) -> tuple[Text, ...]:
    name = Text(os.fsencode(path).decode(errors="replace"))
    if isinstance(outcome, ImageFailure):
        return name, Text("failed", "red"), Text(""), Text(str(outcome), "red")
    first, *following = outcome.classes
    nearby = ", ".join(f"{c.label} {_percent(c)}" for c in following)
    return name, Text(first.label), Text(_percent(first)), Text(nearby)


def _percent(score: ClassScore) -> str:
    return f"{score.probability:.1%}"
