"""A lock per GPU, so that nothing else uses it while a CUDA graph is recorded.

ONNX Runtime records with `cudaStreamCaptureModeGlobal` (its cuda_graph.cc, 1.31). Until the
recording ends, another thread of this process may neither allocate or free memory of that GPU, nor
page-lock memory, copy synchronously (every batch does) or synchronise (so does opening a session):
either that call fails, with CUDA error 900 or 906, or the recording, with 901. They meet where
several instances or models have one GPU, and one of them is reopened while another answers.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class GpuLock:
    """Any number of threads use a GPU at once; one that records a graph has it to itself.

    Whoever waits to record keeps the door closed, so that batches that never cease cannot keep it
    waiting; whoever wants to use the GPU waits for no more than what runs, and one recording.
    """

    def __init__(self) -> None:
        self._door = threading.Lock()  # everybody comes in through it; a recording holds it
        self._left = threading.Condition()
        self._users = 0

    @contextmanager
    def using(self) -> Iterator[None]:
        """Use the GPU in any way but to record; a thread must not come in twice."""
        with self._door, self._left:
            self._users += 1
        try:
            yield
        finally:
            with self._left:
                self._users -= 1
                self._left.notify()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Have the GPU alone: wait until all others have left, and let nobody in."""
        with self._door:
            with self._left:
                self._left.wait_for(lambda: not self._users)
            yield


_locks: dict[int, GpuLock] = {}


def gpu_lock(ordinal: int) -> GpuLock:
    """Return the lock of the GPU with this CUDA number, the same every time."""
    return _locks.setdefault(ordinal, GpuLock())
