"""The backend of GPUs, with ONNX Runtime's CPU memory in the device's place."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ctypes import CDLL
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from bundle.manifest import MANIFEST, Manifest
from serving.backends.backend import Placement, Target, predict
from serving.backends.devices import Device
from serving.backends.ort import backend as ort
from serving.backends.ort.bound import BoundBackend, Opened
from serving.backends.ort.cuda import HostMemory, PinnedMemory
from serving.backends.ort.failures import translated
from serving.backends.ort.gpu_lock import GpuLock, gpu_lock
from serving.backends.ort.library import onnxruntime
from serving.backends.ort.session import open_session
from serving.backends.settings import DEFAULTS
from serving.config import ServingConfig
from serving.engine.job import Prediction
from serving.engine.sources import Raw
from serving.errors import (
    DeviceLostError,
    OutOfDeviceMemoryError,
    ProcessLostError,
    StartupError,
)
from serving.loading import load_model
from serving.metrics import Metrics
from tests.support.bundles import BUCKETS, SIDE, probabilities
from tests.support.fake_backend import PlainMemory
from tests.support.fake_cuda import Cudart, RecordingSession, Run
from tests.support.waiting import WatchedLock

native = onnxruntime.capi.onnxruntime_pybind11_state
PLACEMENT = Placement("onnxruntime", "cuda:0", "fp32")


def on_cpu(tiny: Path) -> Target:
    stated = Manifest.model_validate_json((tiny / MANIFEST).read_bytes())
    return Target(tiny, stated, stated.files[0], Device("cpu"), BUCKETS, DEFAULTS)


class Gpu:
    """A GPU's part of the tests: opens backends there, all with its lock.

    Attributes:
        sessions: of the backends, in the order of opening.
        opened_on: the threads that opened them.
    """

    def __init__(self, target: Target) -> None:
        self.target, self.lock = target, WatchedLock()
        self.sessions: list[RecordingSession] = []
        self.opened_on: list[int] = []

    def open(
        self,
        before_run: Callable[[Run], None] = lambda _: None,
        memory: HostMemory | None = None,
    ) -> BoundBackend:
        """Open a backend; `before_run` is called before each of its session's runs."""

        def opens() -> Opened:
            self.opened_on.append(threading.get_ident())
            self.sessions.append(RecordingSession(open_session(self.target), before_run))
            return Opened(self.sessions[-1], PLACEMENT, memory or PlainMemory())

        return BoundBackend(opens, self.target, ("cpu", 0), self.lock)


@pytest.fixture
def gpu(tiny: Path) -> Gpu:
    return Gpu(on_cpu(tiny))


@pytest.fixture
def backend(gpu: Gpu) -> Iterator[BoundBackend]:
    bound = gpu.open()
    yield bound
    bound.close()


def images(number: int, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (number, SIDE, SIDE, 3), np.uint8)


def test_gives_the_probabilities_that_numpy_gives(backend: BoundBackend) -> None:
    pixels = images(13)
    np.testing.assert_allclose(predict(backend, BUCKETS, pixels), probabilities(pixels), atol=1e-6)
    assert backend.describe() is PLACEMENT


def test_a_bucket_keeps_its_place_and_an_answer_outlives_the_next_run(
    backend: BoundBackend,
) -> None:
    buffer = backend.allocate(4)
    assert backend.allocate(4) is buffer
    buffer[:3] = first = images(3, seed=1)
    answers = backend.run(buffer, 3)
    buffer[:] = 0
    backend.run(buffer, 4)
    np.testing.assert_allclose(answers, probabilities(first), atol=1e-6)


def test_a_graph_is_recorded_after_plain_runs_the_largest_batch_first(
    gpu: Gpu, backend: BoundBackend
) -> None:
    """The arena grows once, and not while a graph is recorded."""
    expected = [(bucket, graph) for bucket in reversed(BUCKETS) for graph in (-1, -1, bucket)]
    assert [(run.bucket, run.graph) for run in gpu.sessions[0].runs] == expected
    predict(backend, BUCKETS, images(3))
    assert [(run.bucket, run.graph) for run in gpu.sessions[0].runs[len(expected) :]] == [(4, 4)]


def test_a_thread_of_its_own_makes_all_calls_from_opening_to_closing(gpu: Gpu) -> None:
    """Another thread would have other graphs, and make a context on GPU 0."""
    cudart = Cudart()
    backend = gpu.open(memory=PinnedMemory(cast("CDLL", cudart), 1))
    for caller in (ThreadPoolExecutor(1), ThreadPoolExecutor(1)):
        with caller:
            caller.submit(predict, backend, BUCKETS, images(3)).result()
    backend.close()
    assert cudart.locked == []
    assert cudart.calls == ["lock"] * len(BUCKETS) + ["unlock"] * len(BUCKETS)
    assert cudart.gpus == {1}
    assert {*gpu.opened_on} == {run.thread for run in gpu.sessions[0].runs} == cudart.threads
    assert threading.get_ident() not in gpu.opened_on


class Gate:
    """Holds up the runs that `is_held` picks, until it is opened."""

    def __init__(self, is_held: Callable[[Run], bool]) -> None:
        self._is_held = is_held
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self, run: Run) -> None:
        if self._is_held(run):
            self.reached.set()
            assert self.opened.wait(10)


def test_a_graph_is_recorded_while_no_other_instance_runs(gpu: Gpu) -> None:
    """Whatever reaches CUDA from another thread would spoil the recording, or fail itself."""
    order: list[str] = []
    held = Gate(lambda _: len(gpu.sessions[0].runs) > 3 * len(BUCKETS))
    answering = gpu.open(held)

    def note(run: Run) -> None:
        order.append("records" if run.records else "prepares")

    with ThreadPoolExecutor(2) as callers:
        answer = callers.submit(answering.run, answering.allocate(1), 1)
        assert held.reached.wait(10)
        other = callers.submit(gpu.open, note)
        assert gpu.lock.left.waited.wait(10)
        order.append("answers")
        held.opened.set()
        answer.result()
        opened = other.result()
    # A session may be opened and run meanwhile.
    assert order[:4] == ["prepares", "prepares", "answers", "records"]
    for backend in (answering, opened):
        backend.close()


def test_no_batch_runs_while_a_graph_is_recorded(gpu: Gpu) -> None:
    answering = gpu.open()
    recording = Gate(lambda run: run.records and run.bucket == BUCKETS[-1])
    before = len(gpu.sessions[0].runs)
    with ThreadPoolExecutor(2) as callers:
        other = callers.submit(gpu.open, recording)
        assert recording.reached.wait(10)
        answered = callers.submit(answering.run, answering.allocate(1), 1)
        assert gpu.lock.door.waited.wait(10)
        assert len(gpu.sessions[0].runs) == before
        recording.opened.set()
        answered.result()
        opened = other.result()
    assert len(gpu.sessions[0].runs) == before + 1
    for backend in (answering, opened):
        backend.close()


def test_instances_that_record_share_the_lock_of_their_gpu(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TensorRT's record nothing."""
    monkeypatch.setattr(ort, "BoundBackend", lambda *arguments: arguments)

    def locks(device: Device) -> list[GpuLock]:
        opened: list[Any] = [*ort.open_backends(on_cpu(tiny)._replace(device=device), 2)]
        assert [place for _, _, place, _ in opened] == [("cuda", 1)] * 2
        return [lock for _, _, _, lock in opened]

    assert locks(Device("cuda", 1)) == [gpu_lock(1)] * 2
    assert gpu_lock(1) not in locks(Device("tensorrt", 1))


def failing(error: Exception, is_hit: Callable[[Run], bool]) -> Callable[[Run], None]:
    """Return what raises an error in place of the runs that `is_hit` picks."""

    def fail(run: Run) -> None:
        if is_hit(run):
            raise error

    return fail


def test_a_graph_that_cannot_be_recorded_is_named_and_everything_is_freed(gpu: Gpu) -> None:
    cudart = Cudart()
    error = native.Fail("CUDA failure 901: operation failed due to a previous error ; GPU=0")
    memory = PinnedMemory(cast("CDLL", cudart), 1)
    with pytest.raises(StartupError, match=r"cuda:0: the CUDA graph of batches of 4 cannot be rec"):
        gpu.open(failing(error, lambda run: (run.bucket, run.graph) == (4, 4)), memory)
    assert cudart.locked == []
    assert not [thread for thread in threading.enumerate() if thread.ident in gpu.opened_on]
    with gpu.lock.recording():  # nobody was left in it
        pass


def test_nothing_is_freed_on_a_gpu_that_is_lost_while_it_is_prepared(gpu: Gpu) -> None:
    """It would fail, and might end the process from within a destructor."""
    cudart = Cudart()
    error = native.Fail("CUDA failure 700: an illegal memory access was encountered ; GPU=0")
    memory = PinnedMemory(cast("CDLL", cudart), 1)
    with pytest.raises(ProcessLostError):
        gpu.open(failing(error, lambda run: run.bucket == 4), memory)
    assert "unlock" not in cudart.calls
    with gpu.lock.recording():
        pass


def test_only_closing_frees_a_session(gpu: Gpu) -> None:
    """Not the garbage collector: an error while another is opened leaves it to nobody else."""
    left, session = weakref.ref(gpu.open()), weakref.ref(gpu.sessions.pop())
    gc.collect()
    assert session()
    backend = left()
    assert backend
    backend.close()
    assert not session()
    del backend
    assert not left()


async def test_the_engine_fills_and_reads_the_fixed_buffers(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bound(session: Any, target: Target, *_: object) -> BoundBackend:
        opened = Opened(session, PLACEMENT, PlainMemory())
        return BoundBackend(lambda: opened, target, ("cpu", 0), GpuLock())

    monkeypatch.setattr(ort, "_backend", bound)
    config = ServingConfig(model=[tiny], instances=2, threads=2)
    model = load_model(tiny, config, Metrics(CollectorRegistry()))
    model.start()
    pixels = images(60)
    sources = [Raw(image.tobytes(), SIDE, SIDE, 3) for image in pixels]
    requests = [
        model.classify(sources[first : first + 3], model.clock() + 30) for first in range(0, 60, 3)
    ]
    answers = [answer for request in await asyncio.gather(*requests) for answer in request]
    await asyncio.to_thread(model.close)
    transform = model.bundle.manifest.transform
    expected = probabilities(np.stack([transform.from_rgb(image) for image in pixels]))
    for answer, row in zip(answers, expected, strict=True):
        assert isinstance(answer, Prediction)
        np.testing.assert_allclose(answer.probabilities, row, atol=1e-6)


@pytest.mark.parametrize(
    "message",
    [
        "CUDA failure 2: out of memory ; GPU=0 ; expr=cudaMalloc((void**)&p, size);",
        "Failed to allocate memory for requested buffer of size 1048576",
        "Available memory of 100 is smaller than requested bytes of 200",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0",
        "Exception during initialization: std::bad_alloc",
    ],
)
@pytest.mark.parametrize(
    "exception", [native.Fail, native.RuntimeException, RuntimeError, MemoryError]
)
def test_memory_that_runs_out_is_said_so(message: str, exception: type[Exception]) -> None:
    with (
        pytest.raises(OutOfDeviceMemoryError, match="cuda:0: a batch of 8 does not fit"),
        translated("cuda:0", 8),
    ):
        raise exception(message)


@pytest.mark.parametrize(
    "message",
    [
        "CUDA failure 700: an illegal memory access was encountered ; GPU=0",
        "CUDA error cudaErrorUnknown:unknown error",
        "CUDNN failure 5003: CUDNN_STATUS_EXECUTION_FAILED ; GPU=0",
        "CUDNN_FE failure 11: CUDNN_BACKEND_API_FAILED ; GPU=0 ; hostname=h ; file=conv.cc",
        "Failed to initialize CUDNN Frontend: CUDNN_BACKEND_API_FAILED",
        "CUBLAS failure 13: CUBLAS_STATUS_EXECUTION_FAILED ; GPU=0",
        "CUFFT failure 6: CUFFT_EXEC_FAILED ; GPU=0",
        "TensorRT EP execution context enqueue failed.",
    ],
)
@pytest.mark.parametrize("exception", [native.Fail, RuntimeError])
@pytest.mark.parametrize("device", ["cuda:0", "tensorrt:1"])
def test_a_gpu_that_fails_is_lost_for_the_process(
    message: str, exception: type[Exception], device: str
) -> None:
    with (
        pytest.raises(ProcessLostError, match=f"{device} is lost for this process: "),
        translated(device, 8),
    ):
        raise exception(message)


def test_an_npu_that_fails_is_lost_until_it_is_reopened() -> None:
    with (
        pytest.raises(DeviceLostError, match="ascend:0 failed and must be reopened") as caught,
        translated("ascend:0", 8),
    ):
        raise native.Fail("CANN failure 507018: ; NPU=0")
    assert not isinstance(caught.value, ProcessLostError)


def test_a_tensor_that_cannot_be_allocated_does_not_fit() -> None:
    with pytest.raises(OutOfDeviceMemoryError), translated("cuda:0", 8):
        onnxruntime.OrtValue.ortvalue_from_shape_and_type([2**60], np.uint8)
    with pytest.raises(OutOfDeviceMemoryError), translated("cuda:0", 8):
        raise MemoryError


def test_the_bucket_that_does_not_fit_is_named(gpu: Gpu) -> None:
    exhausted = native.RuntimeException("CUDA failure 2: out of memory")
    with pytest.raises(OutOfDeviceMemoryError, match="cuda:0: a batch of 4 does not fit"):
        gpu.open(failing(exhausted, lambda run: run.bucket == 4))


@pytest.mark.parametrize(
    "error",
    [
        native.InvalidArgument("Got invalid dimensions"),
        native.Fail("no kernel"),
        # What another thread's recording of a graph does to a call, and the call to the recording.
        native.Fail("CUDA failure 900: operation not permitted when stream is capturing ; GPU=0"),
        native.Fail("CUDA failure 901: operation failed due to a previous error during capture"),
        native.Fail("OP not supported by CUDNN Frontend: x"),
        RuntimeError("wrong size"),
    ],
)
def test_what_no_device_is_to_blame_for_stays_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, translated("cuda:0", 8):
        raise error
    assert caught.value is error
