"""`python -m benchmarks.dataset`: a data set at rest against a loop that does nothing else.

It needs the extra `batch`. The loop has a thread per instance, which reads files, decodes a batch
and runs it, and keeps no answer.
"""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from pydantic import BaseModel, Field, PositiveInt
from rich.console import Console
from rich.progress import track

from benchmarks.command import RESULTS, Benchmark, configured, start
from benchmarks.records import Record, circumstances, markdown
from bundle.store import Bundle
from cli.tables import show_rows
from clients.files import find_images
from deploy.batch.run import make_worker, prepare
from deploy.batch.settings import DatasetConfig
from deploy.batch.target import Target
from images.transform import Pixels
from serving.backends.backend import Backend
from serving.backends.devices import Device
from serving.backends.runtimes import choose
from serving.config import ServingConfig
from serving.loader import Loader
from serving.shares import count_instances

LIBRARIES = ("numpy", "onnxruntime", "opencv-python-headless", "pillow", "simplejpeg", "pyarrow")
HEADER = ("", "img/s", "ratio", "CPU ms", "CPU ratio")
# Images with which the loop tries a batch size.
TRIAL = 200


class Turn(BaseModel):
    """What one of them reached in a round."""

    images_per_second: float
    cpu_ms: float = Field(description="CPU time per image, of the whole process")


class DatasetRecord(Record):
    """A run of this benchmark; ratios are to the loop's turn of the same round."""

    model: str
    images: int
    files: str
    batch: int = Field(description="of the loop: the fastest of the bundle's")
    turns: dict[str, list[Turn]]

    def cells(self) -> list[list[str]]:
        """Return a row for each, of medians over the rounds."""
        return [[name, *self._cells(name)] for name in self.turns]

    def _cells(self, name: str) -> list[str]:
        own, loop = self.turns[name], self.turns["loop"]
        both = list(zip(own, loop, strict=True))
        return [
            f"{median(turn.images_per_second for turn in own):.1f}",
            f"{median(a.images_per_second / b.images_per_second for a, b in both):.3f}",
            f"{median(turn.cpu_ms for turn in own):.3f}",
            f"{median(b.cpu_ms / a.cpu_ms for a, b in both):.3f}",
        ]


class Dataset(Benchmark):
    """Compare the command on one machine with a loop that only reads, decodes and runs."""

    model_config = configured("benchmarks.dataset")

    model: Path = Field(
        Path("build/benchmarks/resnext14_8x4d_224/1"), description="bundle directory"
    )
    files: str = Field("build/benchmarks/photos", description="file, folder or glob")
    images: PositiveInt = Field(3000, description="images of a turn: the files again and again")
    rounds: PositiveInt = Field(5, description="how often both take turns")
    output: Path = Field(RESULTS, description="folder for dataset.json and dataset.md")

    def run(self) -> None:
        """Measure, print the table, and write the record."""
        logging.basicConfig(level=logging.ERROR)
        started, bundle = circumstances("benchmarks.dataset", LIBRARIES), Bundle.open(self.model)
        with TemporaryDirectory() as folder:
            photos = _linked(find_images([self.files]), self.images, Path(folder) / "photos")
            loop = _Loop(bundle)
            batch = loop.fastest(photos[:TRIAL])
            command = _command(self.model, Path(folder))
            turns: dict[str, list[Turn]] = {"loop": [], "command": []}
            for _ in track(range(self.rounds), "rounds", console=Console(stderr=True)):
                turns["loop"].append(_timed(partial(loop.run, photos, batch), len(photos)))
                turns["command"].append(_timed(command, len(photos)))
        record = DatasetRecord(
            **started.model_dump(),
            model=f"{bundle.manifest.name}/{bundle.manifest.version}",
            images=self.images,
            files=self.files,
            batch=batch,
            turns=turns,
        )
        table = record.cells()
        show_rows(HEADER, table, title=f"{record.model}, {self.images} images of {self.files}")
        record.write(self.output, "dataset", markdown(HEADER, table))


class _Loop:
    """Backends as the server has them, and nothing else."""

    def __init__(self, bundle: Bundle) -> None:
        config, device = ServingConfig(model=[bundle.path], tuned="off"), Device("cpu")
        runtime, file = choose(bundle.manifest, device, None, "auto", None)
        self._buckets, self._transform = list(file.buckets), bundle.manifest.transform
        self._limits = config.image_limits
        loader = Loader(bundle, file, self._buckets, config.runtime_settings, runtime)
        instances = loader.open(device, count_instances(config, device))
        self._backends = [instance.backend for instance in instances]

    def fastest(self, photos: Sequence[Path]) -> int:
        """Return the batch size of the most images per second."""
        self.run(photos, self._buckets[-1])  # the first run of a size takes longer
        return max(
            self._buckets,
            key=lambda size: _timed(partial(self.run, photos, size), 1).images_per_second,
        )

    def run(self, photos: Sequence[Path], batch: int) -> None:
        """Classify files on all backends, and keep no answer."""
        backends = self._backends
        shares = [photos[index :: len(backends)] for index in range(len(backends))]
        with ThreadPoolExecutor(len(backends)) as pool:
            list(pool.map(partial(self._share, batch), backends, shares))

    def _share(self, batch: int, backend: Backend, photos: Sequence[Path]) -> None:
        pixels = backend.allocate(batch)
        for first in range(0, len(photos), batch):
            some = photos[first : first + batch]
            for row, photo in zip(pixels, some, strict=False):
                row[:] = self._decoded(photo)
            backend.run(pixels, len(some))

    def _decoded(self, photo: Path) -> Pixels:
        return self._transform.decode(photo.read_bytes(), self._limits)


def _command(model: Path, folder: Path) -> Callable[[], None]:
    """Return what classifies the photos in a folder as the command does, once it has loaded."""
    config = DatasetConfig.model_validate(
        {"source": f"{folder}/photos", "target": folder / "rows", "model": [model]}
    )
    target = Target(config.target)
    target.path.mkdir()
    shards = prepare(config, target, Bundle.open(model))
    worker = make_worker(config, config.serving())

    def run() -> None:
        with ThreadPoolExecutor(config.readers) as pool:
            list(pool.map(worker.run, shards))

    return run


def _linked(files: Sequence[Path], images: int, folder: Path) -> list[Path]:
    """Return links to files in a new folder, as many as there shall be images."""
    folder.mkdir()
    links = []
    for number, file in enumerate(islice(cycle(files), images)):
        links.append(folder / f"{number:07}{file.suffix}")
        links[-1].symlink_to(file.resolve())
    return links


def _timed(work: Callable[[], None], images: int) -> Turn:
    started, worked = time.monotonic(), time.process_time()
    work()
    cpu_ms = 1000 * (time.process_time() - worked) / images
    return Turn(images_per_second=images / (time.monotonic() - started), cpu_ms=cpu_ms)


if __name__ == "__main__":
    start(Dataset)
