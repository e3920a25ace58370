"""The bare loop: decode and infer with the server's settings, but without the server.

`python -m benchmarks.floor` is its process, which waits between its turns; `bare_loop` starts it.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import IO, NamedTuple, cast

import numpy as np
from pydantic import BaseModel, Field, PositiveFloat, PositiveInt

from benchmarks.command import Benchmark, configured, start
from bundle.store import Bundle
from clients.files import find_images, read_image
from images.transform import Transform
from serving.backends.backend import Backend
from serving.backends.devices import Device
from serving.backends.runtimes import choose, load
from serving.config import ServingConfig
from serving.loading import count_instances


class Floor(BaseModel):
    """What the bare loop reached with one batch size."""

    bucket: int
    instances: int
    images_per_second: float
    batch_ms: float = Field(description="median time to decode and infer a batch")
    cpu_ms: float = Field(description="CPU time per image, of the whole process")


class Turn(BaseModel):
    """What to measure."""

    bucket: PositiveInt
    seconds: PositiveFloat
    instances: PositiveInt | None = Field(description="how many run at once; None for all")


class Batches(NamedTuple):
    """What one instance did: images, seconds from first to last, seconds of each batch."""

    images: int
    seconds: float
    times: list[float]


class BareLoopProcess(Benchmark):
    """Read turns from standard input, a JSON line each, and print how fast the loop was in each."""

    model_config = configured("benchmarks.floor")

    model: Path = Field(description="bundle directory")
    images: str = Field(description="file, folder or glob")

    def run(self) -> None:
        """Load the model, then run every turn."""
        bundle = Bundle.open(self.model)
        backends = _load(bundle)
        files = [read_image(path) for path in find_images([self.images])]
        for line in sys.stdin:
            turn = Turn.model_validate_json(line)
            running = backends[: turn.instances]
            loop = Loop(running, bundle.manifest.transform, files, turn.bucket)
            print(loop.measure(turn.seconds).model_dump_json(), flush=True)


class Loop:
    """Every instance decodes a batch and runs it, again and again, on a thread of its own."""

    def __init__(
        self, backends: list[Backend], transform: Transform, files: Sequence[bytes], bucket: int
    ) -> None:
        self._backends, self._transform, self._bucket = backends, transform, bucket
        self._files = files

    def measure(self, seconds: float) -> Floor:
        """Run for this long, after a batch of each instance that is not counted."""
        with ThreadPoolExecutor(len(self._backends)) as pool:
            list(pool.map(self._run, self._backends, cycle([0.0])))
            cpu_start = time.process_time()
            runs = list(pool.map(self._run, self._backends, cycle([seconds])))
            cpu_s = time.process_time() - cpu_start
        return Floor(
            bucket=self._bucket,
            instances=len(self._backends),
            images_per_second=sum(run.images / run.seconds for run in runs),
            batch_ms=float(np.median([time for run in runs for time in run.times])) * 1e3,
            cpu_ms=cpu_s * 1e3 / sum(run.images for run in runs),
        )

    def _run(self, backend: Backend, seconds: float) -> Batches:
        """Run at least one batch, and more until the time is over."""
        buffer, files = backend.allocate(self._bucket), cycle(self._files)
        started = now = time.monotonic()
        times: list[float] = []
        while not times or now < started + seconds:
            for row, data in enumerate(islice(files, self._bucket)):
                buffer[row] = self._transform.decode(data)
            backend.run(buffer, self._bucket)
            before, now = now, time.monotonic()
            times.append(now - before)
        return Batches(self._bucket * len(times), now - started, times)


def _load(bundle: Bundle) -> list[Backend]:
    config = ServingConfig(model=[bundle.path])
    device = Device.parse(config.device)
    runtime, file = choose(bundle.manifest, device, config.precision)
    return load(
        bundle.path,
        bundle.manifest,
        file,
        runtime=runtime,
        device=device,
        instances=count_instances(config, device),
        settings=config.runtime_settings,
    )


class BareLoop:
    """Sends turns to `python -m benchmarks.floor` and reads what it reached."""

    def __init__(self, turns: IO[str], floors: IO[str]) -> None:
        self._turns, self._floors = turns, floors

    def measure(self, bucket: int, seconds: float, instances: int | None = None) -> Floor:
        """Run batches of one size for this long, on all instances or on this many."""
        turn = Turn(bucket=bucket, seconds=seconds, instances=instances)
        print(turn.model_dump_json(), file=self._turns, flush=True)
        return Floor.model_validate_json(self._floors.readline())


@contextmanager
def bare_loop(model: Path, images: str) -> Iterator[BareLoop]:
    """Start the process; it ends with the context."""
    command = [sys.executable, "-m", "benchmarks.floor", "--model", str(model), "--images", images]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:  # noqa: S603
        yield BareLoop(cast("IO[str]", process.stdin), cast("IO[str]", process.stdout))


if __name__ == "__main__":
    start(BareLoopProcess)
