"""The picture of a load test; matplotlib is imported here alone."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.load.report import Report


def plot(reports: Sequence[Report], title: str, path: Path) -> None:
    """Write a PNG: images per second and latencies of each run."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    figure.suptitle(title)
    rates, latencies = figure.subplots(1, 2)
    loads = [report.load for report in reports]
    rates.bar(loads, [report.images_per_second for report in reports], label="answered")
    rates.bar(loads, [report.goodput for report in reports], width=0.5, label="in time")
    rates.set_ylabel("images per second")
    for rank in ("p50", "p95", "p99"):
        known = [report for report in reports if report.latency_ms]
        latencies.plot(
            [report.load for report in known],
            [report.latency_ms[rank] for report in known],
            "o",
            label=rank,
        )
    latencies.set_ylabel("latency in ms")
    for axes in (rates, latencies):
        axes.tick_params(axis="x", rotation=30)
        axes.margins(y=0.25)
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper center", ncols=3)
    figure.savefig(path, dpi=120)
