"""The backend of GPUs, with ONNX Runtime's CPU memory in the device's place."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from bundle.manifest import MANIFEST, Manifest
from serving.backends.backend import Placement, Target, predict
from serving.backends.devices import Device
from serving.backends.ort import backend as ort
from serving.backends.ort.bound import BoundBackend
from serving.backends.ort.cuda import PinnedMemory
from serving.backends.ort.errors import translated
from serving.backends.ort.library import onnxruntime
from serving.backends.ort.session import open_session
from serving.backends.settings import DEFAULTS
from serving.config import ServingConfig
from serving.engine.job import Prediction
from serving.engine.sources import Raw
from serving.errors import DeviceLostError, OutOfDeviceMemoryError, StartupError
from serving.loading import load_model
from serving.metrics import Metrics
from tests.support.bundles import BUCKETS, SIDE, probabilities
from tests.support.fake_backend import PlainMemory

native = onnxruntime.capi.onnxruntime_pybind11_state
PLACEMENT = Placement("onnxruntime", "cuda:0", "fp32")


@pytest.fixture
def backend(tiny: Path) -> Iterator[BoundBackend]:
    stated = Manifest.model_validate_json((tiny / MANIFEST).read_bytes())
    target = Target(tiny, stated, stated.files[0], Device("cpu"), BUCKETS, DEFAULTS)
    bound = BoundBackend(open_session(target), target, PLACEMENT, PlainMemory(), ("cpu", 0))
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


def test_every_run_is_on_the_thread_that_prepared_the_bucket(
    backend: BoundBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set()

    def noting(*arguments: object) -> None:
        threads.add(threading.get_ident())
        run(*arguments)

    run = backend._session.run_with_iobinding
    monkeypatch.setattr(backend._session, "run_with_iobinding", noting)
    for caller in (ThreadPoolExecutor(1), ThreadPoolExecutor(1)):
        with caller:
            caller.submit(predict, backend, BUCKETS, images(3)).result()
    assert len(threads) == 1


async def test_the_engine_fills_and_reads_the_fixed_buffers(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bound(session: Any, target: Target) -> BoundBackend:
        return BoundBackend(session, target, PLACEMENT, PlainMemory(), ("cpu", 0))

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
        "CANN failure 507018: ; NPU=0",
        "TensorRT EP execution context enqueue failed.",
    ],
)
@pytest.mark.parametrize("exception", [native.Fail, RuntimeError])
def test_a_device_that_fails_is_lost(message: str, exception: type[Exception]) -> None:
    with (
        pytest.raises(DeviceLostError, match="cuda:0 failed and must be reopened"),
        translated("cuda:0", 8),
    ):
        raise exception(message)


def test_a_tensor_that_cannot_be_allocated_does_not_fit() -> None:
    with pytest.raises(OutOfDeviceMemoryError), translated("cuda:0", 8):
        onnxruntime.OrtValue.ortvalue_from_shape_and_type([2**60], np.uint8)
    with pytest.raises(OutOfDeviceMemoryError), translated("cuda:0", 8):
        raise MemoryError


def test_the_bucket_that_does_not_fit_is_named(
    backend: BoundBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    exhausted = Mock(side_effect=native.RuntimeException("CUDA failure 2: out of memory"))
    monkeypatch.setattr(backend._session, "run_with_iobinding", exhausted)
    with pytest.raises(OutOfDeviceMemoryError, match="cuda:0: a batch of 4 does not fit"):
        backend.allocate(4)


@pytest.mark.parametrize(
    "error",
    [
        native.InvalidArgument("Got invalid dimensions"),
        native.Fail("no kernel"),
        RuntimeError("wrong size"),
    ],
)
def test_what_no_device_is_to_blame_for_stays_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, translated("cuda:0", 8):
        raise error
    assert caught.value is error


def test_locked_memory_is_unlocked_at_the_end() -> None:
    cudart = Mock()
    cudart.cudaHostRegister.return_value = 0
    memory = PinnedMemory(cudart)
    array = memory.allocate((2, 8, 8, 3))
    assert array.shape == (2, 8, 8, 3)
    assert array.ctypes.data % 4096 == 0
    address, size, flags = cudart.cudaHostRegister.call_args.args
    assert (address.value, size.value, flags) == (array.ctypes.data, 384, 1)
    memory.close()
    [unlocked] = cudart.cudaHostUnregister.call_args.args
    assert unlocked.value == array.ctypes.data


def test_memory_that_cannot_be_locked_is_an_error() -> None:
    cudart = Mock()
    cudart.cudaHostRegister.return_value = 2
    with pytest.raises(StartupError, match="384 bytes cannot be page-locked: CUDA error 2"):
        PinnedMemory(cudart).allocate((2, 8, 8, 3))
