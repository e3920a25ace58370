"""The picture of `benchmarks.scaling`: speed over cores, and what bounds it, point by point."""

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.picture import INK, QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from benchmarks.scaling_record import Point, ScalingRecord

COLOURS = {
    "cores": "#9fb3c8",
    "engine": "#c1503f",
    "front ends": "#c98a1b",
    "device": "#3b6fb6",
    "callers": "#d9e2ec",
}
LINES = "#c1503f", "#c98a1b", "#8f9c2b", "#3f8f6b", "#3b6fb6", "#6b4fa0", "#52606d"


def draw(record: "ScalingRecord", path: Path) -> None:
    """Write the picture; on white, so that it is readable on dark pages."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # The same record gives the same bytes.
    with mpl.rc_context({"svg.hashsalt": "scaling", "text.color": INK}):
        figure = Figure(figsize=(11, 4.2), layout="constrained", facecolor="white")
        left, right = figure.subplots(1, 2)
        _lines(record, left)
        _grid(record, right)
        costs = record.costs
        figure.supxlabel(
            "simulated, from CPU time per image: "
            f"decoding {costs.decode.ms:.2f} ms, front end {costs.frontend.ms:.2f} ms, "
            f"engine {costs.engine.ms:.3f} ms, a server without front ends {costs.alone.ms:.2f} ms",
            color=QUIET,
            fontsize=9,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, metadata=metadata, dpi=120)


def _lines(record: "ScalingRecord", axes: "Axes") -> None:
    speed = record.device.images_per_second
    axes.axhline(speed, color=QUIET, linewidth=1, linestyle="--")
    axes.annotate(
        f"the device: {speed:,.0f}",
        (min(point.cores for point in record.points), speed),
        color=QUIET,
        fontsize=8,
        va="bottom",
    )
    for number, frontends in enumerate(_frontends(record)):
        points = [point for point in record.points if point.frontends == frontends]
        axes.plot(
            [point.cores for point in points],
            [point.images_per_second for point in points],
            color=LINES[number % len(LINES)],
            marker="o",
            markersize=4,
            label=str(frontends) if frontends else "0: one process",
        )
    cores = _cores(record)
    axes.set_xscale("log", base=2)
    axes.set_xticks(cores, [str(count) for count in cores], fontsize=8, color=INK)
    axes.minorticks_off()
    axes.set_ylim(0, 1.12 * max(speed, *(point.images_per_second for point in record.points)))
    axes.set_xlabel("cores", fontsize=9, color=INK)
    axes.set_title("images per second", fontsize=11, color=INK)
    axes.legend(title="front ends", fontsize=8, title_fontsize=8, frameon=False, loc="best")
    axes.spines[["top", "right"]].set_visible(False)


def _grid(record: "ScalingRecord", axes: "Axes") -> None:
    from matplotlib.patches import Patch, Rectangle

    cores, frontends = _cores(record), _frontends(record)
    for point in record.points:
        x, y = cores.index(point.cores), frontends.index(point.frontends)
        axes.add_patch(Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, color=COLOURS[point.bound]))
        axes.text(x, y, _thousands(point), ha="center", va="center", fontsize=8, color=_ink(point))
    axes.set_xlim(-0.5, len(cores) - 0.5)
    axes.set_ylim(-0.5, len(frontends) - 0.5)
    axes.set_xticks(range(len(cores)), [str(count) for count in cores], fontsize=8, color=INK)
    names = [str(count) for count in frontends]
    axes.set_yticks(range(len(frontends)), names, fontsize=8, color=INK)
    axes.set_xlabel("cores", fontsize=9, color=INK)
    axes.set_ylabel("front ends", fontsize=9, color=INK)
    axes.set_title("what bounds it, and thousands of images per second", fontsize=11, color=INK)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    found = [name for name in COLOURS if name in {point.bound for point in record.points}]
    axes.legend(
        handles=[Patch(color=COLOURS[name], label=name) for name in found],
        loc="upper center",
        bbox_to_anchor=(0.5, -0.14),
        ncols=len(found),
        fontsize=8,
        frameon=False,
    )


def _cores(record: "ScalingRecord") -> list[int]:
    return sorted({point.cores for point in record.points})


def _frontends(record: "ScalingRecord") -> list[int]:
    return sorted({point.frontends for point in record.points})


def _thousands(point: "Point") -> str:
    return f"{point.images_per_second / 1e3:.1f}"


def _ink(point: "Point") -> str:
    return INK if point.bound in ("cores", "callers") else "white"
