"""What a user sees of tuning: progress, a table with bars, and a picture if asked for."""

import itertools
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.progress import Progress

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


@contextmanager
def progress(title: str) -> Iterator[Callable[[Trial, int], None]]:
    """Show a bar on standard error if that is a terminal, and a line for each candidate.

    Yields what to tell of a trial, and how many may follow.
    """
    console = Console(stderr=True, highlight=False, markup=False)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("loading the defaults", total=None)
        console.print(printable(title), soft_wrap=True)
        done = itertools.count(1)

        def tell(trial: Trial, left: int) -> None:
            reached = trial.note
            if trial.pairs:
                reached = f"{trial.goodput:.1f} img/s, {trial.ratio:.2f} x defaults"
            console.print(printable(f"{trial.candidate}: {reached}"), soft_wrap=True)
            completed = next(done)
            total = completed + left
            bar.update(task, completed=completed, total=total, description="candidates")

        yield tell


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
    if measured:
        _show_table(start, measured)
    for trial in trials:
        if not trial.pairs:
            print(printable(f"{trial.candidate}: {trial.note}"))
    for reason in left_out:
        print(printable(f"left out: {reason}"))
    print()
    print(printable(_verdict(final, wins=wins)))
    results = [result for trial in measured for pair in trial.pairs for result in pair]
    least_ms = min((result.p99_ms for result in results), default=0.0)
    if slo_ms and least_ms > slo_ms:
        print(f"Nothing keeps --slo-ms {slo_ms}: the least 99th percentile was {least_ms:.0f} ms.")


def _show_table(start: Candidate, measured: list[Trial]) -> None:
    most = max(1.0, *(trial.ratio for trial in measured))
    defaults = [pair.defaults for trial in measured for pair in trial.pairs]
    goodput = median(result.goodput for result in defaults)
    p99_ms = median(result.p99_ms for result in defaults)
    rows = [_row(start, goodput, p99_ms, "defaults", 1 / most)]
    rows += [
        _row(t.candidate, t.goodput, t.p99_ms, f"{t.ratio:.2f}", t.ratio / most) for t in measured
    ]
    show_rows(HEADINGS, rows, text_columns=3)


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


def _row(one: Candidate, goodput: float, p99_ms: float, ratio: str, share: float) -> list[str]:
    setting = [one.runtime, one.precision, f"{one.instances} x {one.threads}", str(one.buckets[-1])]
    return [*setting, f"{goodput:.1f}", f"{p99_ms:.0f}", ratio, _bar(share)]


def _bar(share: float) -> str:
    block = "█" if "utf" in (sys.stdout.encoding or "").lower() else "#"
    return (block * max(1, round(WIDTH * min(share, 1.0)))).ljust(WIDTH)
