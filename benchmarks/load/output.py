"""What a load test leaves: a table, a picture, a record."""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.load.report import PERCENTILES, STAGES, Percentiles, Report
from cli.cores import usable_cores
from cli.program import UsageError
from cli.tables import show_rows
from clients.types import ModelInfo

RANKS = tuple(f"p{rank:g}" for rank in PERCENTILES)


def print_reports(reports: Sequence[Report]) -> None:
    """Print rates and latencies of each run, then the stages on the server beside them."""
    latencies = (f"{rank} ms" for rank in RANKS)
    headings = ("load", "errors", "img/s", "in time/s", *latencies, "own CPU ms")
    show_rows(headings, map(_rates, reports), text_columns=2)
    print()
    show_rows(
        ("load", "batch", *(f"{name} ms" for name in ("client", *STAGES))),
        map(_stages, reports),
        title="Median times: at the client, and of each stage on the server",
    )


def write(folder: Path, model: ModelInfo, reports: Sequence[Report], figure: Any) -> None:
    """Write bench.json, and bench.png with a new matplotlib figure."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("name", "version", "digest", "runtime", "device", "precision")
    record = {
        "model": {name: getattr(model, name) for name in names},
        "client": {"machine": platform.machine(), "cpus": usable_cores().usable},
        "runs": [asdict(report) for report in reports],
    }
    (folder / "bench.json").write_text(json.dumps(record, indent=2) + "\n")
    title = f"{model.name} {model.version}, {model.precision} on {model.device} ({model.runtime})"
    figure.suptitle(title)
    _draw(figure, reports)
    figure.savefig(folder / "bench.png", dpi=120)


def new_figure() -> Any:
    """Return a figure to draw on; raise UsageError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise UsageError("--output draws a picture: pip install -e '.[load]'") from error
    return Figure(figsize=(10, 4), layout="constrained")


def _rates(report: Report) -> list[str]:
    errors = ", ".join(f"{code} {count}" for code, count in sorted(report.errors.items()))
    rates = f"{report.images_per_second:.1f}", f"{report.goodput:.1f}"
    cpu = f"{report.client_cpu_ms:.3f}"
    return [report.load, errors or "none", *rates, *_cells(report.latency_ms), cpu]


def _stages(report: Report) -> list[str]:
    spans = [report.latency_ms, *(report.server_ms[stage] for stage in STAGES)]
    return [report.load, f"{report.batch_images:.1f}", *(_cells(span)[0] for span in spans)]


def _cells(span: Percentiles) -> list[str]:
    return [f"{span[rank]:.2f}" if span else "-" for rank in RANKS]


def _draw(figure: Any, reports: Sequence[Report]) -> None:
    rates, latencies = figure.subplots(1, 2)
    loads = [report.load for report in reports]
    rates.bar(loads, [report.images_per_second for report in reports], label="answered")
    rates.bar(loads, [report.goodput for report in reports], width=0.5, label="in time")
    rates.set_ylabel("images per second")
    known = [report for report in reports if report.latency_ms]
    for rank in ("p50", "p95", "p99"):
        times = [report.latency_ms[rank] for report in known]
        latencies.plot([report.load for report in known], times, "o", label=rank)
    latencies.set_ylabel("latency in ms")
    for axes in (rates, latencies):
        axes.tick_params(axis="x", rotation=30)
        axes.margins(y=0.25)
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper center", ncols=3)
