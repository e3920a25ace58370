"""The table that a load test prints."""

import sys
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.load.report import PERCENTILES, STAGES, Percentiles, Report
from clients.output import UNBOUNDED

RANKS = tuple(f"p{rank:g}" for rank in PERCENTILES)


def print_reports(reports: Sequence[Report]) -> None:
    """Print rates and latencies of each run, then the stages on the server beside them."""
    console = Console(width=None if sys.stdout.isatty() else UNBOUNDED)
    console.print(_rates(reports))
    console.print()
    console.print(_stages(reports))


def _rates(reports: Sequence[Report]) -> Table:
    table = _table("Load", "img/s", "in time/s", *(f"{r} ms" for r in RANKS), "own CPU ms")
    table.add_column("errors")
    for report in reports:
        errors = ", ".join(f"{code} {count}" for code, count in sorted(report.errors.items()))
        table.add_row(
            report.load,
            f"{report.images_per_second:.1f}",
            f"{report.goodput:.1f}",
            *_cells(report.latency_ms),
            f"{report.client_cpu_ms:.3f}",
            errors or "none",
        )
    return table


def _stages(reports: Sequence[Report]) -> Table:
    table = _table("Load", "batch", *(f"{name} ms" for name in ("client", *STAGES)))
    table.title = "Median times: at the client, and of each stage on the server"
    table.title_justify = "left"
    for report in reports:
        spans = [report.latency_ms, *(report.server_ms[stage] for stage in STAGES)]
        medians = [_cells(span)[0] for span in spans]
        table.add_row(report.load, f"{report.batch_images:.1f}", *medians)
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right", overflow="fold")
    return table


def _cells(span: Percentiles) -> list[str]:
    return [f"{span[rank]:.2f}" if span else "-" for rank in RANKS]
