"""The floor: the fastest known way to the same answers on this machine, without a server.

`python -m benchmarks.floor` is its process, which waits between its turns; `bare_loop` starts it.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, NamedTuple, cast

import numpy as np
from pydantic import BaseModel, Field, PositiveFloat

from benchmarks.command import Benchmark, configured, start
from benchmarks.floor_network import RUNTIMES, FloorRuntime, Network, Run, Way, write_network
from benchmarks.floor_pixels import cheapest, normalised
from bundle.golden import prove_pixels, prove_probabilities
from bundle.manifest import ModelFile, Normalization, Precision
from bundle.store import Bundle, BundleError
from cli.cores import usable_cores
from cli.program import UsageError
from clients.files import find_images, read_image
from images.transform import Pixels
from serving.backends.devices import Device
from serving.backends.hardware import missing

Decodes = Sequence[Callable[[], Pixels]]
Open = Callable[[Way], list[Run]]


class Floor(BaseModel):
    """What the bare loop reached in one way."""

    way: Way
    images_per_second: float
    batch_ms: float = Field(description="median time to decode and infer a batch")
    cpu_ms: float = Field(description="CPU time per image, of the whole process")
    refused: str | None = Field(
        None, description="why this is no way to the same answers; then nothing was measured"
    )


class Best(BaseModel):
    """The ways that were chosen, and the trials that chose them."""

    busy: Way = Field(description="of the most images per second")
    lone: Way = Field(description="of the least time for one image")
    trials: list[Floor]


class Turn(BaseModel):
    """What to measure."""

    way: Way
    seconds: PositiveFloat


class Batches(NamedTuple):
    """What one worker did: images, seconds from first to last, seconds of each batch."""

    images: int
    seconds: float
    times: list[float]


class BareLoopProcess(Benchmark):
    """Read turns from standard input, a JSON line each, and print how fast the loop was in each."""

    model_config = configured("benchmarks.floor")

    model: Path = Field(description="bundle directory")
    images: str = Field(description="file, folder or glob")
    precision: Precision = Field("fp32", description="what the network computes in")
    original: Path | None = Field(
        None,
        description="ONNX file that the bundle was made from: float32 images in, channels first; "
        "unset: the network inside the bundle's file",
    )

    def run(self) -> None:
        """Prove the floor's pixels and answers, then run every turn."""
        if self.original and not self.original.is_file():
            raise UsageError(f"--original: there is no file {self.original}")
        bundle = Bundle.open(self.model)
        file = bundle.file("onnx", self.precision)
        files = [read_image(path) for path in find_images([self.images])]
        ways = [cheapest(data, bundle.manifest.transform) for data in files]
        decodes = [partial(way.decode, data) for way, data in zip(ways, files, strict=True)]
        print(", ".join(sorted({way.name for way in ways})), flush=True)
        with TemporaryDirectory(prefix="floor-") as scratch:
            network = self.original or Path(scratch) / "network.onnx"
            if not self.original:
                write_network(bundle.path / file.path, network, bundle.manifest.transform.crop)

            # The ways of the most images and of the least time alternate; others make room.
            opened = lru_cache(maxsize=2)(partial(_open, bundle, file, network))
            for line in sys.stdin:
                turn = Turn.model_validate_json(line)
                print(self._floor(turn, opened, decodes, bundle).model_dump_json(), flush=True)

    def _floor(self, turn: Turn, opened: Open, decodes: Decodes, bundle: Bundle) -> Floor:
        try:
            runs = opened(turn.way.model_copy(update={"batch": 1}))
        except BundleError as error:
            nothing = {"images_per_second": 0, "batch_ms": 0, "cpu_ms": 0}
            return Floor(way=turn.way, **nothing, refused=str(error))
        return Loop(runs, decodes, bundle.manifest.normalization, turn.way).measure(turn.seconds)


def _open(bundle: Bundle, file: ModelFile, network: Path, way: Way) -> list[Run]:
    runs = Network(network, file.precision, way).runs
    prove(runs[0], bundle, file, way.runtime)
    return runs


def prove(run: Run, bundle: Bundle, file: ModelFile, runtime: FloorRuntime) -> None:
    """Raise `BundleError` if the golden images are not answered as a server must answer them."""
    golden, pixels = prove_pixels(bundle)

    def predict(images: Pixels) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        rows = np.empty((len(images), 3, *images.shape[1:3]), np.float32)
        for row, image in zip(rows, images, strict=True):
            normalised(image, bundle.manifest.normalization, row)
        # One by one: some files run no other batch.
        return np.concatenate([run(rows[i : i + 1]) for i in range(len(rows))])

    prove_probabilities(bundle, file, golden, pixels, predict, runtime)


class Loop:
    """Every worker decodes a batch and runs it, again and again, on a thread of its own."""

    def __init__(
        self, runs: Sequence[Run], decodes: Decodes, normalization: Normalization, way: Way
    ) -> None:
        self._runs, self._way = runs, way
        self._decodes, self._normalization = decodes, normalization

    def measure(self, seconds: float) -> Floor:
        """Run for this long, after a batch of each worker that is not counted."""
        with ThreadPoolExecutor(len(self._runs)) as pool:
            list(pool.map(self._work, self._runs, cycle([0.0])))
            cpu_start = time.process_time()
            done = list(pool.map(self._work, self._runs, cycle([seconds])))
            cpu_s = time.process_time() - cpu_start
        return Floor(
            way=self._way,
            images_per_second=sum(batches.images / batches.seconds for batches in done),
            batch_ms=float(np.median([time for batches in done for time in batches.times])) * 1e3,
            cpu_ms=cpu_s * 1e3 / sum(batches.images for batches in done),
        )

    def _work(self, run: Run, seconds: float) -> Batches:
        """Run at least one batch, and more until the time is over."""
        height, width = self._decodes[0]().shape[:2]
        images = np.empty((self._way.batch, 3, height, width), np.float32)
        decodes, times = cycle(self._decodes), list[float]()
        started = now = time.monotonic()
        while not times or now < started + seconds:
            for row, decode in zip(images, islice(decodes, self._way.batch), strict=True):
                normalised(decode(), self._normalization, row)
            run(images)
            before, now = now, time.monotonic()
            times.append(now - before)
        return Batches(self._way.batch * len(times), now - started, times)


class BareLoop:
    """Sends turns to `python -m benchmarks.floor` and reads what it reached."""

    def __init__(self, turns: IO[str], floors: IO[str]) -> None:
        self._turns, self._floors = turns, floors
        self.decoders = floors.readline().strip()

    def measure(self, way: Way, seconds: float) -> Floor:
        """Run one way for this long; raise `UsageError` if the process has ended."""
        with suppress(BrokenPipeError):  # it has ended, as the next line shows
            print(Turn(way=way, seconds=seconds).model_dump_json(), file=self._turns, flush=True)
        if line := self._floors.readline():
            return Floor.model_validate_json(line)
        raise UsageError("the floor cannot run; what its process said is above")

    def best(self, precision: Precision, batches: Sequence[int], seconds: float) -> "Best":
        """Try every way and return the best, for many images and for one (or the least batch).

        Raises:
            BundleError: none of them gives the bundle's answers.
        """
        cores = usable_cores().usable
        busy = [way for batch in batches for way in _ways(precision, batch, cores)]
        lone = _ways(precision, batches[0], 1)
        trials = list[Floor]()
        return Best(
            busy=self._best(busy, seconds / 4, trials),
            lone=self._best(lone, seconds / 4, trials),
            trials=trials,
        )

    def _best(self, ways: Sequence[Way], seconds: float, trials: list[Floor]) -> Way:
        """Return the way of the most images per second; each trial is added to `trials`.

        Every way has a turn; the better half goes on to turns that are twice as long.
        """
        left = list(ways)
        while True:
            # Those that share an open network follow each other.
            left.sort(key=lambda way: (way.runtime, way.workers, way.threads, way.batch))
            turns = [self.measure(way, seconds) for way in left]
            trials += turns
            turns.sort(key=lambda floor: -floor.images_per_second)
            if turns[0].refused:
                raise BundleError(turns[0].refused)
            if len(turns) == 1:
                return turns[0].way
            left, seconds = [turn.way for turn in turns[: (len(turns) + 1) // 2]], 2 * seconds


def _ways(precision: Precision, batch: int, workers: int) -> list[Way]:
    """Return what may be the fastest: a thread for each of these workers, or one with all cores."""
    shapes = dict.fromkeys([(workers, 1), (1, usable_cores().usable)])
    return [
        Way(runtime=runtime, workers=workers, threads=threads, batch=batch)
        for runtime in RUNTIMES[precision]
        if not missing(runtime, Device("cpu"), precision=precision)
        for workers, threads in shapes
    ]


@contextmanager
def bare_loop(
    model: Path, images: str, precision: Precision = "fp32", original: Path | None = None
) -> Iterator[BareLoop]:
    """Start the process; it ends with the context."""
    command = [sys.executable, "-m", "benchmarks.floor", "--model", str(model), "--images", images]
    command += ["--precision", precision]
    command += ["--original", str(original)] if original else []
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:  # noqa: S603
        turns = cast("IO[str]", process.stdin)
        try:
            yield BareLoop(turns, cast("IO[str]", process.stdout))
        finally:
            with suppress(BrokenPipeError):  # of a turn that it did not wait for
                turns.close()


if __name__ == "__main__":
    start(BareLoopProcess)
