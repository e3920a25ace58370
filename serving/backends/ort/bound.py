"""ONNX Runtime on an NVIDIA GPU."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from images.transform import Pixels
from serving.backends.backend import Placement, Probabilities, Target
from serving.backends.ort.cuda import HostMemory
from serving.backends.ort.failures import EXCEPTIONS, translated
from serving.backends.ort.gpu_lock import GpuLock
from serving.backends.ort.library import onnxruntime
from serving.backends.ort.session import log_progress
from serving.errors import ProcessLostError, StartupError

# `gpu_graph_id` of a run that neither records nor replays a graph.
NO_GRAPH = -1
# Runs of a batch size before its graph is recorded, when no memory may be allocated any more: the
# first run sizes the arena and plans the convolutions, the second uses the memory pattern that the
# first one left. The two runs that ONNX Runtime itself makes before it records are now and then not
# enough with `kSameAsRequested`.
PLAIN_RUNS = 2
# Backends that nobody has closed yet. The garbage collector must free none: it would do so on any
# thread and, after a failure of the GPU, abort the process. If one cannot be opened, for example,
# nobody else holds those that were opened before it.
_unclosed = set["BoundBackend"]()


class Bound(NamedTuple):
    """One bucket: the engine's buffer, its copy on the device, and the probabilities there."""

    buffer: Pixels
    pixels: onnxruntime.OrtValue
    probabilities: onnxruntime.OrtValue
    binding: onnxruntime.IOBinding
    options: onnxruntime.RunOptions


class Opened(NamedTuple):
    """A session, what it was found to use, and what allocates the buffers that it reads."""

    session: onnxruntime.InferenceSession
    placement: Placement
    memory: HostMemory


class BoundBackend:
    """A session on a GPU, and so a stream, with a thread of its own.

    A bucket has one buffer, and addresses on the device that never change: its CUDA graph holds
    them (onnxruntime.ai, CUDA provider, "Using CUDA Graphs"). ONNX Runtime keeps graphs per thread
    (`PerThreadContext` of its CUDA provider): a thread other than the one that prepared a bucket
    would have to record its graph again. All calls that reach CUDA are made on that thread, the
    last ones too: another's current device is GPU 0, and they would make a context there.

    All buckets of the target are prepared at once, and none later: a convolution keeps the plan of
    the last size alone, so the plan that a graph was recorded from is gone when the next bucket is
    prepared. Only answers that come after that show whether the graph is still good.

    Args:
        opens: opens the session, with `enable_cuda_graph` if graphs are wanted.
        target: what the session is opened for.
        device: ONNX Runtime's name and number of the memory that the session computes in.
        lock: that of the GPU.

    Raises:
        OutOfDeviceMemoryError: a bucket does not fit; it is named.
        ProcessLostError: the GPU failed; nothing is freed.
        StartupError: the session cannot be opened, or a graph not recorded.
    """

    def __init__(
        self,
        opens: Callable[[], Opened],
        target: Target,
        device: tuple[str, int],
        lock: GpuLock,
    ) -> None:
        self._target, self._device, self._lock = target, device, lock
        self._buckets: dict[int, Bound] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=str(target.device))
        try:
            self._thread.submit(self._open, opens).result()
        except BaseException:
            self._thread.shutdown()
            raise

    def allocate(self, bucket: int) -> Pixels:
        """Return the uint8 buffer (bucket, height, width, 3) of the bucket, the same every time."""
        return self._buckets[bucket].buffer

    def run(self, buffer: Pixels, images: int) -> Probabilities:
        """Return float32 probabilities (images, classes)."""
        bound = self._buckets[len(buffer)]
        return self._thread.submit(self._run, bound, buffer, bound.options).result()[:images]

    def describe(self) -> Placement:
        """Return what the session was found to use."""
        return self._placement

    def trim(self) -> None:
        """Release nothing: the graphs hold addresses in the device's memory."""

    def widen(self, threads: int) -> None:
        """Return None: a batch has all of the device."""

    def close(self) -> None:
        """Free the session, its graphs and its buffers on the device."""
        try:
            self._thread.submit(self._free).result()
        finally:
            self._thread.shutdown()

    def _open(self, opens: Callable[[], Opened]) -> None:
        with self._lock.using():
            self._session, self._placement, self._memory = opens()
        _unclosed.add(self)
        try:
            # The largest first: the arena then grows once, and the others fit into it.
            for bucket in sorted(self._target.buckets, reverse=True):
                self._prepare(bucket)
        except ProcessLostError:
            raise  # after which not even closing is safe
        except BaseException:
            self._free()
            raise

    def _free(self) -> None:
        with self._lock.using():
            self._buckets.clear()
            del self._session
            self._memory.close()
        _unclosed.discard(self)

    def _prepare(self, bucket: int) -> None:
        with log_progress(f"{self._placement.device}: preparing batches of {bucket}"):
            with self._lock.using():
                bound = self._buckets[bucket] = self._bind(bucket)
            for _ in range(PLAIN_RUNS):
                self._run(bound, bound.buffer, _options(NO_GRAPH))
            self._record(bound)

    def _run(self, bound: Bound, buffer: Pixels, options: onnxruntime.RunOptions) -> Probabilities:
        with self._lock.using():
            return self._compute(bound, buffer, options)

    def _record(self, bound: Bound) -> None:
        """Run a bucket for the first time with its graph, which records it.

        TensorRT's sessions record none, and this is one more run.
        """
        try:
            with self._lock.recording():
                self._compute(bound, bound.buffer, bound.options)
        except EXCEPTIONS as error:
            raise StartupError(
                f"{self._placement.device}: the CUDA graph of batches of {len(bound.buffer)} "
                f"cannot be recorded: {error}"
            ) from error

    def _compute(
        self, bound: Bound, buffer: Pixels, options: onnxruntime.RunOptions
    ) -> Probabilities:
        with translated(self._placement.device, len(buffer)):
            bound.pixels.update_inplace(buffer)
            self._session.run_with_iobinding(bound.binding, options)
            # A copy: on a CPU, as in the tests, the next run would otherwise overwrite it.
            return np.array(bound.probabilities.numpy())

    def _bind(self, bucket: int) -> Bound:
        shape, manifest = (bucket, *self._target.image_shape), self._target.manifest
        empty = onnxruntime.OrtValue.ortvalue_from_shape_and_type
        buffer = self._memory.allocate(shape)
        with translated(self._placement.device, bucket):
            pixels = empty(list(shape), np.uint8, *self._device)
            probabilities = empty([bucket, self._target.classes], np.float32, *self._device)
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(manifest.input.name, pixels)
        binding.bind_ortvalue_output(manifest.output.name, probabilities)
        return Bound(buffer, pixels, probabilities, binding, _options(bucket))


def _options(graph: int) -> onnxruntime.RunOptions:
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph))
    return options
