"""What the command line prints: a table to read, or JSON lines for programs."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from cli.tables import cell, new_table, show
from clients.classify import FileOutcome, Outcome
from clients.types import ClassScore, ImageFailure

# Each class of such a model is right or wrong by itself.
MULTILABEL, LIKELY = "multilabel", 0.5


def progress(outcomes: Iterable[FileOutcome], total: int, *, shown: bool) -> Iterator[FileOutcome]:
    """Yield the outcomes; draw a bar on standard error meanwhile, if it is a terminal."""
    console = Console(stderr=True)
    if not (shown and console.is_terminal):
        yield from outcomes
        return
    # Redirecting would send our own output to standard error too.
    with Progress(console=console, transient=True, redirect_stdout=False) as bar:
        yield from bar.track(outcomes, total=total, description="Classifying")


def print_json(outcomes: Iterable[FileOutcome]) -> int:
    """Print a JSON object per file as it comes; return how many failed."""
    failures = 0
    for path, outcome in outcomes:
        print(json.dumps({"path": str(path)} | _members(outcome), allow_nan=False), flush=True)
        failures += isinstance(outcome, ImageFailure)
    return failures


def print_table(outcomes: Iterable[FileOutcome], task: str) -> int:
    """Print a row per file: name, first class, probability, next classes; return failures.

    Of a multilabel model a row has the classes that are more likely right than wrong, and others:
    none of them is the answer before the rest.
    """
    table = new_table()
    table.add_column("Image", overflow="fold")
    table.add_column("Classes" if task == MULTILABEL else "Class", overflow="fold", style="bold")
    if task != MULTILABEL:
        table.add_column("Probability", justify="right", no_wrap=True)
    table.add_column("Others" if task == MULTILABEL else "Next", overflow="fold")
    failures = 0
    for path, outcome in outcomes:
        table.add_row(*_row(path, outcome, task))
        failures += isinstance(outcome, ImageFailure)
    show(table)
    return failures


def _members(outcome: Outcome) -> dict[str, object]:
    if isinstance(outcome, ImageFailure):
        return {"error": str(outcome)}
    return {"classes": [asdict(score) for score in outcome.classes]}


def _row(path: Path, outcome: Outcome, task: str) -> tuple[Text, ...]:
    name = cell(str(path))
    if isinstance(outcome, ImageFailure):
        spare = () if task == MULTILABEL else (cell(""),)
        return name, cell("failed", "red"), *spare, cell(str(outcome), "red")
    if task == MULTILABEL:
        likely = [score for score in outcome.classes if score.probability >= LIKELY]
        return name, _listed(likely), _listed(outcome.classes[len(likely) :])
    first, *following = outcome.classes
    return name, cell(first.label), cell(_percent(first)), _listed(following)


def _listed(scores: Sequence[ClassScore]) -> Text:
    return cell(", ".join(f"{score.label} {_percent(score)}" for score in scores))


def _percent(score: ClassScore) -> str:
    return f"{score.probability:.1%}"
