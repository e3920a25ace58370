"""How far int8 files answer other images of the same kind than those that they were measured on.

Exports the network several times, each time from other images, and verifies each bundle on sets of
images that share none with one another or with the export.
"""

import logging
import struct
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from pydantic import BaseModel, Field, PositiveInt
from rich.console import Console
from rich.progress import track

from benchmarks.command import RESULTS, Benchmark, configured, start
from benchmarks.records import Record, circumstances, markdown
from cli.program import UsageError
from cli.tables import show_rows
from export.audit.exceedance import share_beyond
from export.audit.verification import Verification, verify
from export.checkpoint import from_checkpoint
from export.config import ExportConfig
from export.errors import ExportError
from export.original import Original
from export.pipeline import export_bundle
from export.precision.cost import MARGIN
from images.transform import Pixels
from training.data.dataset import Split
from training.data.idx import IDX_PREFIX, UINT8, open_idx

LIBRARIES = ("numpy", "onnx", "onnxruntime", "openvino")
HEADER = (
    "runtime", "verified", "failed", "images", "beyond tolerance / 1.5", "stated, at most",
    "beyond tolerance",
)  # fmt: skip


class Verified(BaseModel):
    """One set of images in one runtime; beyond is what differs by more than the tolerance."""

    export: int
    runtime: str
    tolerance: float
    tolerance_images: int
    images: int
    beyond_measured: int = Field(description="by more than the tolerance without its margin")
    beyond: int
    problems: list[str]


class ToleranceRecord(Record):
    """A run of this benchmark."""

    exports: int
    refused: list[str] = Field(description="why exports were refused")
    verified: list[Verified]

    def cells(self) -> list[list[str]]:
        """Return a row for each runtime."""
        runs = sorted(self.verified, key=lambda run: run.runtime)
        return [_row(name, list(of)) for name, of in groupby(runs, lambda run: run.runtime)]


class Tolerance(Benchmark):
    """Export int8 from few images, verify it on many others, and count what is beyond."""

    model_config = configured("benchmarks.tolerance")

    ckpt_file: Path = Field(
        Path("models/checkpoints/fashion_resnext.ckpt"), description="the network"
    )
    images: Path = Field(
        Path("/usr/share/datasets/fashion-mnist"), description="folder of IDX files"
    )
    exports: PositiveInt = Field(20, description="how many bundles")
    train_images: PositiveInt = Field(400, description="of each: half set ranges, half choose")
    test_images: PositiveInt = Field(100, description="of each, which judge it")
    verified_images: PositiveInt = Field(500, description="of each set that it is verified on")
    output: Path = Field(RESULTS, description="folder for the record")

    def run(self) -> None:
        """Measure, print the table, and write the record."""
        logging.basicConfig(level=logging.ERROR)
        started = circumstances("benchmarks.tolerance", LIBRARIES)
        original = from_checkpoint(ExportConfig(ckpt_file=self.ckpt_file))
        refused, verified = [], list[Verified]()
        for number in track(range(self.exports), "exports", console=Console(stderr=True)):
            with TemporaryDirectory() as folder:
                try:
                    verified += self._export(number, original, Path(folder))
                except ExportError as error:
                    refused.append(str(error))
        record = ToleranceRecord(
            **started.model_dump(), exports=self.exports, refused=refused, verified=verified
        )
        title = f"{self.exports} exports from {self.train_images} + {self.test_images} images"
        show_rows(HEADER, record.cells(), title=f"{title}, {len(refused)} refused")
        name = f"tolerance-{self.train_images}-{self.test_images}"
        record.write(self.output, name, markdown(HEADER, record.cells()))

    def _export(self, number: int, original: Original, folder: Path) -> Iterator[Verified]:
        """Export with the images of that turn, and yield what each other set of images showed."""
        own = folder / "own" / self.images.name
        first = number * self.test_images
        self._subset("train", number * self.train_images, self.train_images, own)
        self._subset("test", first, self.test_images, own)
        config = ExportConfig(
            ckpt_file=self.ckpt_file, images=own, precision=("fp32", "int8"), output=folder
        )
        bundle = export_bundle(original, config).bundle
        for place in range(len(_read(self.images, "test")[1]) // self.verified_images):
            begin = place * self.verified_images
            if begin < first + self.test_images and first < begin + self.verified_images:
                continue
            others = folder / str(place) / self.images.name
            self._subset("test", begin, self.verified_images, others)
            yield from _counted(number, verify(bundle.path, "cpu", others))

    def _subset(self, split: Split, first: int, count: int, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for values, kind in zip(
            _read(self.images, split), ("images-idx3", "labels-idx1"), strict=True
        ):
            if first + count > len(values):
                raise UsageError(f"--exports: {self.images} has only {len(values)} {split} images")
            part = values[first : first + count]
            header = struct.pack(f">HBB{part.ndim}I", 0, UINT8, part.ndim, *part.shape)
            path = folder / f"{IDX_PREFIX[split]}-{kind}-ubyte"
            path.write_bytes(header + part.tobytes())


@cache
def _read(folder: Path, split: Split) -> tuple[Pixels, Pixels]:
    dataset = open_idx(folder, split)
    if dataset is None:
        raise UsageError(f"--images: {folder} holds no IDX files of {split} images")
    return dataset.images, dataset.labels


def _counted(number: int, verification: Verification) -> Iterator[Verified]:
    for result in verification.files:
        if result.file.precision != "int8":
            continue
        recorded = verification.record.of(result.file.title, result.runtime)
        assert recorded
        # Nothing is measured of what does not prove itself.
        differences = result.measured.differences if result.measured else np.empty(0)
        yield Verified(
            export=number,
            runtime=result.runtime,
            tolerance=recorded.tolerance,
            tolerance_images=recorded.tolerance_images or 0,
            images=len(differences),
            beyond_measured=int(np.sum(differences > recorded.tolerance / MARGIN["int8"])),
            beyond=int(np.sum(differences > recorded.tolerance)),
            problems=result.problems,
        )


def _row(runtime: str, runs: list[Verified]) -> list[str]:
    images = sum(run.images for run in runs)
    return [
        runtime,
        str(len(runs)),
        str(sum(bool(run.problems) for run in runs)),
        f"{images:,}",
        _part(sum(run.beyond_measured for run in runs), images),
        f"{share_beyond(max(run.tolerance_images for run in runs)):.2%}",
        _part(sum(run.beyond for run in runs), images),
    ]


def _part(count: int, images: int) -> str:
    return f"{count:,} ({count / images:.3%})" if images else "-"  # none proved itself


if __name__ == "__main__":
    start(Tolerance)
