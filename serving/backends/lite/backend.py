"""MindSpore Lite: `mindir-lite` files on CPU and Ascend, each instance in a process of its own.

Its packages need other Python versions than the server, a crash inside it must not end the server,
and an NPU needs a process per device.
"""

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from bundle.files import held
from bundle.manifest import Conversion
from images.transform import Pixels
from serving.backends.backend import Backend, Placement, Probabilities, Target
from serving.backends.lite.process import SHARED, Memory, Worker
from serving.errors import StartupError

logger = logging.getLogger(__name__)


class LiteBackend:
    """One worker with one model; batches are gathered in memory that the worker maps.

    `worker_s` is the time that the worker took for the last batch, in seconds.
    """

    def __init__(
        self, worker: Worker, memory: Memory, placement: Placement, batch_timeout_s: float
    ) -> None:
        self.worker, self._memory, self._placement = worker, memory, placement
        self._timeout_s = batch_timeout_s
        self.worker_s = 0.0

    def allocate(self, bucket: int) -> Pixels:
        """Return the buffer of a bucket, the same at every call; raise `ValueError` for others."""
        if bucket not in self._memory.pixels:
            raise ValueError(f"no bucket of {bucket}; there are {[*self._memory.pixels]}")
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
        """Return what the worker was found to use."""
        return self._placement

    def trim(self) -> None:
        """Release nothing: the worker's memory is its own."""

    def widen(self, threads: int) -> None:
        """Return None: another worker would hold the weights once more."""

    def close(self) -> None:
        """End the worker, in any state."""
        self.worker.close()


def open_backends(target: Target, instances: int) -> list[Backend]:
    """Open backends of a `mindir-lite` file, each with a worker.

    Raises:
        StartupError: a worker cannot load the file as configured.
        BundleError: the file is not the one that the manifest states.
    """
    file, buckets = target.file, list(target.buckets)
    if (conversion := file.conversion) is None or conversion.device != target.device.kind:
        raise StartupError(
            f"{file.path} was not converted for {target.device.kind}: python -m export convert"
        )
    if not {*buckets} <= {*file.buckets}:
        raise StartupError(
            f"{file.path} was converted for batches of {file.buckets}, not of {buckets}"
        )
    opened: list[Backend] = []
    try:
        for _ in range(instances):
            opened.append(_open(target, conversion))  # noqa: PERF401 - must be closed on error
    except BaseException:
        for backend in opened:
            backend.close()
        raise
    return opened


def _open(target: Target, conversion: Conversion) -> LiteBackend:
    asked: dict[str, object] = {
        "device": target.device.kind,
        "device_id": target.device.ordinal,
        "precision_mode": conversion.precision_mode,
        "threads": target.settings.threads,
    }
    # The file has no name, so it is gone with its last user, however the two processes end.
    with TemporaryFile(dir=SHARED) as file:
        memory = Memory(file.fileno(), target.buckets, target.image_shape, target.classes)
        worker = Worker(target.settings.lite_python or Path(sys.executable), file.fileno())
    try:
        model: dict[str, object] = {
            "model": str(target.path.resolve()),
            "image": target.image_shape,
            "classes": target.classes,
            "layout": memory.layout,
        }
        # MindSpore Lite opens a path and no descriptor.
        with held(target.root, target.file.parts):
            state = worker.load(asked | model)
        _check(target, asked, state)
    except BaseException:
        worker.close()
        raise
    logger.info(
        "%s: MindSpore Lite %s, Python %s, process %d",
        target.file.path,
        state["mindspore_lite"],
        state["python"],
        worker.pid,
    )
    placement = Placement("mindspore-lite", str(target.device), target.file.precision)
    return LiteBackend(worker, memory, placement, target.settings.batch_timeout_s)


def _check(target: Target, asked: Mapping[str, object], state: Mapping[str, Any]) -> None:
    """Raise `StartupError` unless the worker uses the settings, and the manifest's input."""
    in_use = {name: state[name] for name in asked}
    if in_use != asked:
        raise StartupError(
            f"{target.file.path}: {asked} was asked for, but MindSpore Lite uses {in_use}"
        )
    image = list(target.image_shape)
    if [(kind, shape[1:]) for kind, shape in state["inputs"]] != [("UINT8", image)]:
        raise StartupError(
            f"{target.file.path}: the manifest states one input, uint8 images of {image}, "
            f"but the model has {state['inputs']}"
        )
