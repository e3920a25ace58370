"""What a user sees of tuning: progress, a table with bars, and a picture if asked for."""

import math
import sys
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from cli.program import UsageError
from cli.tables import show_rows
from cli.text import printable
from serving.tune.candidate import Candidate
from serving.tune.trial import Trial

HEADINGS = (
    "Runtime", "Precision", "Instances x threads", "Largest batch", "img/s", "p99 ms", "x defaults",
    "",
)  # fmt: skip
WIDTH = 20  # of a bar for the fastest, in characters
PICTURES = {".png", ".svg", ".pdf"}


class Progress:
    """A bar on standard error if that is a terminal, and a line for each candidate."""

    def __init__(self, model: Path, photos: int) -> None:
        self._console = Console(stderr=True, highlight=False, markup=False)
        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("loading the defaults", total=None)
        self._say(f"tuning {model} with {photos} photos; the defaults first")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def tell(self, trial: Trial, left: int) -> None:
        """Show what became of a candidate, and how many may follow."""
        reached = f"{trial.goodput:.1f} img/s, {trial.ratio:.2f} x defaults" if trial.pairs else ""
        self._say(f"{trial.candidate}: {reached or trial.note}")
        done = int(self._bar.tasks[0].completed) + 1
        self._bar.update(self._task, completed=done, total=done + left, description="candidates")

    def _say(self, text: str) -> None:
        self._console.print(printable(text), soft_wrap=True)


def show(
    start: Candidate,
    trials: list[Trial],
    final: Trial,
    left_out: list[str],
    *,
    slo_ms: int | None,
    wins: bool,
) -> None:
    """Print the table, what was not tried, and the verdict."""
    measured = [trial for trial in trials if trial.pairs]
    most = max([1.0, *(trial.ratio for trial in measured)])
    defaults = [pair.defaults for trial in measured for pair in trial.pairs]
    first = [
        *_names(start),
        f"{median(result.goodput for result in defaults):.1f}",
        f"{median(result.p99_ms for result in defaults):.0f}",
        "defaults",
        _bar(1 / most),
    ]
    show_rows(HEADINGS, [first, *(_row(trial, most) for trial in measured)], text_columns=3)
    for trial in trials:
        if not trial.pairs:
            print(printable(f"{trial.candidate}: {trial.note}"))
    for reason in left_out:
        print(printable(f"left out: {reason}"))
    print()
    print(printable(_verdict(final, wins=wins)))
    least_ms = min(result.p99_ms for trial in measured for pair in trial.pairs for result in pair)
    if slo_ms and least_ms > slo_ms:
        print(f"Nothing keeps --slo-ms {slo_ms}: the least 99th percentile was {least_ms:.0f} ms.")


def check_picture(path: Path | None) -> None:
    """Raise `UsageError` if no picture can be drawn there."""
    if path is None:
        return
    if path.suffix not in PICTURES:
        raise UsageError(f"--picture: {path} must end in {', '.join(sorted(PICTURES))}")
    if not path.parent.is_dir():
        raise UsageError(f"--picture: there is no folder {path.parent}")
    if find_spec("matplotlib") is None:
        raise UsageError("--picture: matplotlib is not installed (extra `load`)")


def draw(path: Path, start: Candidate, trials: list[Trial]) -> None:
    """Draw the ratios to the defaults, with their noise, into a file."""
    from matplotlib.figure import Figure  # here, because serving does not need it

    measured = [trial for trial in trials if trial.pairs]
    names = [f"defaults: {start}", *(str(trial.candidate) for trial in measured)]
    ratios = [1.0, *(trial.ratio for trial in measured)]
    noise = [0.0, *(trial.noise if len(trial.pairs) > 1 else 0.0 for trial in measured)]
    figure = Figure(figsize=(9, 1.2 + 0.3 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.barh(names, ratios, xerr=noise, color=["0.7", *["tab:blue"] * len(measured)])
    axes.invert_yaxis()
    axes.set(xlabel="images per second, times those of the defaults")
    figure.savefig(path, dpi=120)


def _verdict(final: Trial, *, wins: bool) -> str:
    if wins:
        times = f"{final.ratio:.2f} (± {final.noise:.2f}) times the defaults"
        return f"Best: {final.candidate}: {times}, {final.p99_ms:.0f} ms at the 99th percentile."
    if not final.pairs:
        return "The defaults are best: nothing that was tried is faster."
    noise = f" ± {final.noise:.2f}" if math.isfinite(final.noise) else ""
    return (
        f"The defaults are best: nothing that was tried is faster by more than the noise "
        f"({final.candidate}: {final.ratio:.2f}{noise} times)."
    )


def _row(trial: Trial, most: float) -> list[str]:
    return [
        *_names(trial.candidate),
        f"{trial.goodput:.1f}",
        f"{trial.p99_ms:.0f}",
        f"{trial.ratio:.2f}",
        _bar(trial.ratio / most),
    ]


def _names(one: Candidate) -> list[str]:
    layout = f"{one.instances} x {one.threads}"
    return [one.runtime, one.precision, layout, str(one.buckets[-1])]


def _bar(share: float) -> str:
    block = "█" if "utf" in (sys.stdout.encoding or "").lower() else "#"
    return (block * max(1, round(WIDTH * min(share, 1.0)))).ljust(WIDTH)
