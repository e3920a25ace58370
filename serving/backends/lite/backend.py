"""MindSpore Lite: `mindir-lite` files on CPU and Ascend, each instance in a process of its own.

Its wheels want other Python versions than ours, a crash inside it must not end the server, and an
NPU wants a process per device.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

from bundle.manifest import Conversion, Manifest, ModelFile
from images.transform import Pixels
from serving.backends.backend import Backend, Placement, Probabilities
from serving.backends.devices import Device
from serving.backends.lite.memory import SHARED, Memory
from serving.backends.lite.process import Worker
from serving.errors import StartupError

logger = logging.getLogger(__name__)


class LiteBackend:
    """One worker with one model; batches are gathered in the memory that it maps.

    `worker_s` is how long the worker took for the last batch, in seconds.
    """

    def __init__(
        self, worker: Worker, memory: Memory, placement: Placement, batch_timeout_s: float
    ) -> None:
        self.worker, self._memory, self._placement = worker, memory, placement
        self._timeout_s = batch_timeout_s
        self.worker_s = 0.0

    def allocate(self, bucket: int) -> Pixels:
        """Return the batch of that size, the same at every call; raise `ValueError` for others."""
        if bucket not in self._memory.pixels:
            raise ValueError(f"a batch of {bucket}; those that run are {[*self._memory.pixels]}")
        return self._memory.pixels[bucket]

    def run(self, buffer: Pixels, images: int) -> Probabilities:
        """Return float32 probabilities (images, classes); raise what `Worker.run` raises."""
        bucket = len(buffer)
        if buffer is not (batch := self.allocate(bucket)):
            batch[:] = buffer
        self.worker_s = self.worker.run(bucket, self._timeout_s)
        # A copy, because the next batch overwrites the answers.
        return self._memory.answers[bucket][:images].copy()

    def describe(self) -> Placement:
        """Return runtime, device and precision as the worker read them back."""
        return self._placement

    def close(self) -> None:
        """End the worker, in whatever state it is."""
        self.worker.close()


class _Task(NamedTuple):
    """What every worker of a device is told."""

    root: Path
    manifest: Manifest
    file: ModelFile
    conversion: Conversion
    device: Device
    threads: int
    buckets: Sequence[int]
    python: Path

    def open(self, batch_timeout_s: float) -> LiteBackend:
        # It has no name, so that it is gone with its last user, however the two processes end.
        with TemporaryFile(dir=SHARED) as file:
            classes = len(self.manifest.labels)
            memory = Memory(file.fileno(), self.buckets, self.image, classes)
            worker = Worker(self.python, file.fileno())
        try:
            state = worker.load(self._settings(memory))
            self._check(state)
        except BaseException:
            worker.close()
            raise
        logger.info(
            "%s: MindSpore Lite %s, Python %s, process %d",
            self.file.path,
            state["mindspore_lite"],
            state["python"],
            worker.pid,
        )
        placement = Placement("mindspore-lite", str(self.device), self.file.precision)
        return LiteBackend(worker, memory, placement, batch_timeout_s)

    @property
    def image(self) -> list[int]:
        crop = self.manifest.transform.crop
        return [crop.height, crop.width, 3]

    @property
    def asked(self) -> dict[str, object]:
        """What must come back as it is."""
        return {
            "device": self.device.kind,
            "device_id": self.device.ordinal,
            "precision_mode": self.conversion.precision_mode,
            "threads": self.threads,
        }

    def _settings(self, memory: Memory) -> dict[str, object]:
        return {
            **self.asked,
            "model": str((self.root / self.file.path).resolve()),
            "image": self.image,
            "classes": len(self.manifest.labels),
            "layout": memory.layout,
        }

    def _check(self, state: Mapping[str, Any]) -> None:
        in_use = {name: state[name] for name in self.asked}
        if in_use != self.asked:
            raise StartupError(
                f"{self.file.path}: {self.asked} was asked for, but MindSpore Lite uses {in_use}"
            )
        if [(kind, shape[1:]) for kind, shape in state["inputs"]] != [("UINT8", self.image)]:
            raise StartupError(
                f"{self.file.path}: the manifest states one input, uint8 images of {self.image}, "
                f"but the model has {state['inputs']}"
            )


def open_backends(
    root: Path,
    manifest: Manifest,
    file: ModelFile,
    *,
    device: Device,
    instances: int,
    threads: int,
    buckets: Sequence[int],
    python: Path | None,
    batch_timeout_s: float,
) -> list[Backend]:
    """Open backends of a file of the bundle at `root`, each with a worker.

    Args:
        root: the bundle's directory.
        manifest: its manifest.
        file: the `mindir-lite` file.
        device: where to run.
        instances: number of workers.
        threads: CPU threads of each.
        buckets: the batch sizes that will run.
        python: the interpreter that has mindspore_lite; None for this one.
        batch_timeout_s: seconds after which a worker that does not answer is lost.

    Raises:
        StartupError: a worker cannot load it as asked.
    """
    if (conversion := file.conversion) is None or conversion.device != device.kind:
        raise StartupError(
            f"{file.path} was not converted for {device.kind}: python -m export convert"
        )
    if not {*buckets} <= {*file.buckets}:
        raise StartupError(
            f"{file.path} was converted for batches of {file.buckets}, not of {list(buckets)}"
        )
    interpreter = python or Path(sys.executable)
    task = _Task(root, manifest, file, conversion, device, threads, buckets, interpreter)
    opened: list[Backend] = []
    try:
        for _ in range(instances):
            opened.append(task.open(batch_timeout_s))  # noqa: PERF401 - must be closed on error
    except BaseException:
        for backend in opened:
            backend.close()
        raise
    return opened
