"""`python -m benchmarks.input`: how fast photos reach training, by source and number of workers."""

import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import psutil
from pydantic import BaseModel, Field, PositiveInt
from rich.progress import track

from benchmarks.command import RESULTS, Benchmark, configured, start
from benchmarks.cpu_time import cpu_s
from benchmarks.photos import jpeg, photo
from benchmarks.records import Record, circumstances, markdown
from cli.tables import show_rows
from images.transform import Pixels
from training.data.augmenter import Augmenter
from training.data.batches import Photographs, Transformed, normalize
from training.data.dataset import Dataset
from training.data.datasets import open_dataset
from training.data.prefetch import Indices
from training.data.worker import Work
from training.data.workers import Workers
from training.settings.train_config import TrainConfig

LIBRARIES = ("numpy", "opencv-python-headless", "pillow", "simplejpeg")
TEXTS = ("source", "work", "by")
HEADER = (*TEXTS, "workers", "img/s", "CPU ms / image", "img/s and core")
DIFFERENT = 64  # photos; the others are copies
TRAINING, EVALUATION = "training", "evaluation"


class Row(BaseModel):
    """Medians over the rounds; CPU time is that of this process and of its workers."""

    source: str
    work: str
    by: str
    workers: int
    images_per_second: float
    cpu_ms: float

    def cells(self) -> list[str]:
        """Return the row of the table."""
        numbers = (
            f"{self.images_per_second:.0f}",
            f"{self.cpu_ms:.2f}",
            f"{1000 / self.cpu_ms:.0f}",
        )
        return [self.source, self.work, self.by, str(self.workers), *numbers]


class InputRecord(Record):
    """A run of this benchmark."""

    images: int
    batch: int
    rounds: int
    rows: list[Row]


class Turn(NamedTuple):
    """How long all images took, in seconds: by the clock, and of CPU time."""

    wall_s: float
    cpu_s: float


class Input(Benchmark):
    """Feed photos of 500 x 375 to training and evaluation at 224 x 224, without a network."""

    model_config = configured("benchmarks.input")

    images: PositiveInt = Field(256, description="photos of an epoch, of quality 90")
    batch: PositiveInt = Field(64, description="images of a batch")
    rounds: PositiveInt = Field(5, description="turns of each, after a first one")
    output: Path = Field(RESULTS, description="folder for input.json and input.md")

    def run(self) -> None:
        """Measure, print the table, and write the record."""
        started = circumstances("benchmarks.input", LIBRARIES)
        with tempfile.TemporaryDirectory() as folder:
            os.environ["XDG_CACHE_HOME"] = folder  # where the index of the tar is kept
            ways = _ways(_written(Path(folder), self.images), self.batch)
            for way in ways:
                way.turn(self.images, self.batch)
            turns = [
                [way.turn(self.images, self.batch) for way in ways]
                for _ in track(range(self.rounds), "rounds")
            ]
            rows = [_row(way, taken, self.images) for way, *taken in zip(ways, *turns, strict=True)]
        record = InputRecord(
            **started.model_dump(),
            images=self.images,
            batch=self.batch,
            rounds=self.rounds,
            rows=rows,
        )
        table = [row.cells() for row in rows]
        show_rows(HEADER, table, title="photos to batches", text_columns=len(TEXTS))
        record.write(self.output, "input", markdown(HEADER, table, text_columns=len(TEXTS)))


class Way(NamedTuple):
    """One way to make batches of pixels: `feed` takes the work and the indices of each batch."""

    source: str
    work: str
    by: str
    workers: int
    feed: Callable[[Work, Iterable[Indices]], Iterable[Pixels]]

    def turn(self, images: int, batch: int) -> Turn:
        """Feed all images once, in another order each time, normalised as for the network."""
        order = np.random.default_rng(time.monotonic_ns()).permutation(images)
        config = TrainConfig()
        work: Work = Transformed(config.transform)
        if self.work == TRAINING:
            work = Photographs(Augmenter(config, images, 1), int(order[0]))
        started, worked = time.perf_counter(), _cpu_s()
        batches = (order[first : first + batch] for first in range(0, images, batch))
        for pixels in self.feed(work, batches):
            normalize(pixels, config.normalization)
        return Turn(time.perf_counter() - started, _cpu_s() - worked)


def _ways(sources: dict[str, Dataset], batch: int) -> list[Way]:
    folder, size = sources["folder"], TrainConfig().image_size

    def processes(source: Dataset, count: int) -> Callable[..., Iterator[Pixels]]:
        config = TrainConfig(num_workers=count)
        workers = Workers(source, size, batch, config, keep=False)
        return lambda work, batches: (made.pixels for made in workers.batches(work, batches))

    return [
        Way("folder", TRAINING, "this process", 0, processes(folder, 0)),
        *(Way("folder", TRAINING, "threads", n, partial(_threads, folder, n)) for n in (1, 2)),
        *(
            Way(name, TRAINING, "processes", n, processes(source, n))
            for name, source in sources.items()
            for n in (1, 2)
        ),
        *(Way("folder", EVALUATION, "processes", n, processes(folder, n)) for n in (1, 2)),
    ]


def _threads(
    source: Dataset, count: int, work: Work, batches: Iterable[Indices]
) -> Iterator[Pixels]:
    """Make each batch in threads of this process, which share Python's lock."""

    def some(indices: Indices) -> list[Pixels]:
        return [work(source.stored(index), index) for index in indices.tolist()]

    with ThreadPoolExecutor(count) as pool:
        for indices in batches:
            yield np.stack([*chain(*pool.map(some, np.array_split(indices, count)))])


def _cpu_s() -> float:
    """Return the CPU time of this process and of those that it has started, in seconds."""
    own = psutil.Process()
    return cpu_s(process.pid for process in (own, *own.children()))


def _row(way: Way, turns: Sequence[Turn], images: int) -> Row:
    return Row(
        source=way.source,
        work=way.work,
        by=way.by,
        workers=way.workers,
        images_per_second=images / median(turn.wall_s for turn in turns),
        cpu_ms=1000 * median(turn.cpu_s for turn in turns) / images,
    )


def _written(folder: Path, images: int) -> dict[str, Dataset]:
    """Write the same photos as a folder, a tar and a MindRecord file, and open each."""
    photos = [jpeg(photo(seed)) for seed in range(min(images, DIFFERENT))]
    (folder / "folder/photo").mkdir(parents=True)
    rows: list[dict[str, bytes | int]] = []
    for number in range(images):
        data = photos[number % DIFFERENT]
        (folder / f"folder/photo/{number:06}.jpg").write_bytes(data)
        rows.append({"image": data, "label": 0})
    with tarfile.open(folder / "photos.tar", "w") as tar:
        tar.add(folder / "folder", ".")
    _write_mindrecord(folder / "photos.mindrecord", rows)
    paths = {"folder": "folder", "tar": "photos.tar", "MindRecord": "photos.mindrecord"}
    return {name: open_dataset(folder / path, "train") for name, path in paths.items()}


def _write_mindrecord(path: Path, rows: list[dict[str, bytes | int]]) -> None:
    from mindspore.mindrecord import FileWriter

    writer = FileWriter(str(path), 1)
    writer.add_schema({"image": {"type": "bytes"}, "label": {"type": "int32"}}, "photos")
    writer.write_raw_data(rows)
    writer.commit()


if __name__ == "__main__":
    start(Input)
