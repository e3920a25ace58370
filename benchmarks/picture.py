"""`python -m benchmarks.picture`: bars of what `benchmarks.precisions` has recorded."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from benchmarks.command import RESULTS, Benchmark, configured, start
from benchmarks.precisions import Measured, PrecisionRecord
from cli.program import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, QUIET = "#1f2933", "#52606d"
COLOURS = {"fp32": "#9fb3c8", "bf16": "#c98a1b", "int8": "#3b6fb6"}
NAMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
RECORDS = [
    RESULTS / f"precisions-{model}-1.json"
    for model in ("resnext152_64x4d", "resnext14_8x4d_224", "fashion_resnext")
]
NO_ACCURACY = "no accuracy: random weights"


class Picture(Benchmark):
    """Draw images per second of each runtime and precision, with accuracy, from the records."""

    model_config = configured("benchmarks.picture")

    records: list[Path] | None = Field(
        None,
        description="records of benchmarks.precisions, comma-separated; a panel for each; unset: "
        f"those in {RESULTS} of the full network, of that for photos and of the shipped model",
    )
    output: Path = Field(Path("docs/precisions.svg"), description="SVG or PNG file to write")

    def run(self) -> None:
        """Read the records and write the picture."""
        draw([_read(path) for path in self.records or RECORDS], self.output)


def draw(records: Sequence[PrecisionRecord], path: Path) -> None:
    """Write a picture with a panel per record; on white, so that it is readable on dark pages."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # The same records give the same bytes.
    with mpl.rc_context({"svg.hashsalt": "precisions", "text.color": INK}):
        figure = Figure(figsize=(3.6 * len(records), 3.6), layout="constrained", facecolor="white")
        panels = figure.subplots(1, len(records), squeeze=False)[0]
        for record, axes in zip(records, panels, strict=True):
            _panel(record, axes)
        first = records[0].machine
        figure.supxlabel(
            f"images per second through the server; {first.cpu}, {first.cores} cores",
            color=QUIET,
            fontsize=9,
        )
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, metadata=metadata, dpi=120)


def _panel(record: PrecisionRecord, axes: "Axes") -> None:
    bars = record.measured
    speeds = [bar.images_per_second for bar in bars]
    colours = [COLOURS[bar.precision] for bar in bars]
    drawn = axes.bar(range(len(bars)), speeds, color=colours, width=0.7)
    labels = [_figure(speed) for speed in speeds]
    axes.bar_label(drawn, labels, fontweight="bold", padding=2)
    ratios = ["", *(f"{bar.ratio_to(bars[0]):.1f}x" for bar in bars[1:])]
    axes.bar_label(drawn, ratios, label_type="center", color="white", fontweight="bold")
    axes.set_xticks(range(len(bars)), [_tick(bar) for bar in bars], fontsize=8, color=INK)
    axes.set_title(record.model, fontsize=11, color=INK)
    if all(bar.top1 is None for bar in bars):
        axes.set_xlabel(NO_ACCURACY, fontsize=8, color=QUIET)
    axes.set_yticks([])
    axes.set_ylim(0, 1.15 * max(speeds))
    axes.spines[["left", "top", "right"]].set_visible(False)
    axes.tick_params(bottom=False)


def _figure(speed: float) -> str:
    return f"{speed:.1f}" if speed < 100 else f"{speed:.0f}"


def _tick(bar: Measured) -> str:
    runtime, precision = bar.name.split()
    lines = [NAMES[runtime], precision]
    if bar.top1 is not None:
        lines.append(f"top-1 {bar.top1:.2%}")
    return "\n".join(lines)


def _read(path: Path) -> PrecisionRecord:
    try:
        return PrecisionRecord.model_validate_json(path.read_text())
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}; python -m benchmarks.precisions writes it"
        ) from error
    except ValueError as error:
        raise UsageError(f"{path} is no record of python -m benchmarks.precisions") from error


if __name__ == "__main__":
    start(Picture)
