import logging
from concurrent.futures import ThreadPoolExecutor
from ctypes import CDLL
from typing import cast

import numpy as np
import pytest

from serving.backends.ort.cuda import PinnedMemory
from tests.support.fake_cuda import Cudart


def pinned(cudart: Cudart) -> PinnedMemory:
    return PinnedMemory(cast("CDLL", cudart), 1)


def test_memory_is_locked_on_the_gpu_that_reads_it_and_unlocked_at_the_end() -> None:
    cudart = Cudart()
    memory = pinned(cudart)
    array = memory.allocate((2, 8, 8, 3))
    assert array.shape == (2, 8, 8, 3)
    assert array.ctypes.data % 4096 == 0
    assert cudart.locked == [(array.ctypes.data, 384, 1)]
    with ThreadPoolExecutor(1) as another:  # whose current GPU is the first
        another.submit(memory.close).result()
    assert cudart.locked == []
    assert cudart.gpus == {1}
    array[:] = 1  # it stays valid


def test_memory_that_cannot_be_locked_is_ordinary(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    cudart = Cudart(refusal=801)
    memory = pinned(cudart)
    for images in (2, 1):
        array = memory.allocate((images, 8, 8, 3))
        assert array.shape == (images, 8, 8, 3)
        assert not np.any(array)
        array[:] = 1
    memory.close()
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "cuda:1: 384 bytes cannot be page-locked (CUDA error 801)" in record.message
    # The error is forgotten, or ONNX Runtime would find it after its next kernel. Nothing is tried
    # again, and nothing unlocked that is not locked.
    assert cudart.calls == ["lock", "forget"]
