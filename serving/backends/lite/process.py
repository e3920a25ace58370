"""The server's side of a MindSpore Lite worker: its process, its pipe, and the shared memory."""

import json
import logging
import mmap
import os
import signal
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from images.transform import Pixels
from serving.backends.lite.worker import BUCKET, LONGEST_MESSAGE, PROTOCOL, SECONDS
from serving.errors import DeviceLostError, OutOfDeviceMemoryError, StartupError

logger = logging.getLogger(__name__)

WORKER = Path(__file__).with_name("worker.py")
START_TIMEOUT_S = 600.0
SHARED = Path("/dev/shm")  # noqa: S108 - its files are memory
ALIGNMENT = 64


class Worker:
    """A worker process; `close` ends it, in any state.

    Args:
        python: the interpreter that has mindspore_lite.
        memory: descriptor of the file that both sides map.
    """

    def __init__(self, python: Path, memory: int) -> None:
        self._python = python
        self._pipe, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        descriptors = theirs.fileno(), memory
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the interpreter that the operator names
                [python, WORKER, *map(str, descriptors)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=descriptors,
                # Ctrl-C reaches only the server, which drains before it ends its workers.
                start_new_session=True,
            )
        except OSError as error:
            self._pipe.close()
            raise StartupError(f"{python} cannot be run: {error}; see --lite-python") from error
        finally:
            theirs.close()
        self.pid = self._process.pid
        self._output: deque[str] = deque(maxlen=5)
        self._log_reader = threading.Thread(
            target=self._log, name=f"lite-log-{self.pid}", daemon=True
        )
        self._log_reader.start()

    def load(self, settings: Mapping[str, object]) -> dict[str, Any]:
        """Load a model; return what is in use, or raise `StartupError`."""
        message = json.dumps({"protocol": PROTOCOL, **settings}).encode()
        try:
            state: dict[str, Any] = json.loads(self._ask(message, START_TIMEOUT_S))
        except DeviceLostError as error:
            raise StartupError(
                f"{self._python} cannot load {settings['model']}: {error}"
            ) from error
        if "error" in state:
            raise StartupError(
                f"{self._python} cannot load {settings['model']}: {state['error']}"
                f"{self._last_output()}"
            )
        return state

    def run(self, bucket: int, timeout_s: float) -> float:
        """Run the batch of that size in the shared memory; return the worker's time in seconds.

        Raises:
            DeviceLostError: the worker died, or did not answer in time and was killed.
            OutOfDeviceMemoryError, RuntimeError: the worker could not run this batch.
        """
        answer = self._ask(BUCKET.pack(bucket), timeout_s)
        if len(answer) == SECONDS.size:
            return float(SECONDS.unpack(answer)[0])
        failure = json.loads(answer)
        kind = OutOfDeviceMemoryError if failure["memory"] else RuntimeError
        raise kind(f"MindSpore Lite worker {self.pid}: {failure['error']}")

    def close(self) -> None:
        """Kill the worker and wait until it is gone."""
        self._kill()
        self._process.wait()
        self._pipe.close()
        self._log_reader.join(timeout=1)

    def _kill(self) -> None:
        """Kill the whole session: the interpreter may be a script that waits for the real one."""
        # Once the process has been waited for, its id may belong to another one.
        if self._process.returncode is None:
            os.killpg(self.pid, signal.SIGKILL)

    def _ask(self, message: bytes, timeout_s: float) -> bytes:
        self._pipe.settimeout(timeout_s)
        try:
            self._pipe.send(message)
            answer = self._pipe.recv(LONGEST_MESSAGE)
        except TimeoutError as error:
            self._kill()
            raise DeviceLostError(
                f"MindSpore Lite worker {self.pid} did not answer within {timeout_s:g} s and was "
                f"killed"
            ) from error
        except ConnectionError:
            answer = b""
        if not answer:
            self._kill()
            raise DeviceLostError(
                f"MindSpore Lite worker {self.pid} ended with {self._process.wait()}"
                f"{self._last_output()}"
            )
        return answer

    def _log(self) -> None:
        assert self._process.stdout
        with self._process.stdout as lines:
            for line in lines:
                self._output.append(line.decode(errors="replace").rstrip())
                logger.info("worker %d: %s", self.pid, self._output[-1])

    def _last_output(self) -> str:
        self._log_reader.join(timeout=1)
        return "; it said last: " + " | ".join(self._output) if self._output else ""


class Slot(NamedTuple):
    """The place of batches of one size: the offsets of pixels and probabilities, in bytes."""

    bucket: int
    pixels: int
    answers: int


class Memory:
    """A file that both processes map, with pixels and probabilities of every batch size.

    Args:
        descriptor: descriptor of the file; it may be closed once the worker has it.
        buckets: the batch sizes.
        image: height, width and channels.
        classes: number of probabilities per image.

    Raises:
        StartupError: there is not enough memory.
    """

    def __init__(
        self, descriptor: int, buckets: Sequence[int], image: Sequence[int], classes: int
    ) -> None:
        *slots, end = _layout(buckets, int(np.prod(image)), 4 * classes)
        self.layout = slots
        _reserve(descriptor, end.pixels)
        shared = mmap.mmap(descriptor, end.pixels)
        self.pixels: dict[int, Pixels] = {}
        self.answers: dict[int, NDArray[np.float32]] = {}
        for bucket, pixels, answers in slots:
            flat = np.frombuffer(shared, np.uint8, bucket * int(np.prod(image)), pixels)
            self.pixels[bucket] = flat.reshape(bucket, *image)
            rows = np.frombuffer(shared, np.float32, bucket * classes, answers)
            self.answers[bucket] = rows.reshape(bucket, classes)


def _layout(buckets: Sequence[int], pixels: int, answers: int) -> Iterator[Slot]:
    """Yield the place of batches of each size, and last the end, as a batch of size 0."""
    offset = 0
    for bucket in buckets:
        start, offset = offset, offset + _align(bucket * pixels)
        yield Slot(bucket, start, offset)
        offset += _align(bucket * answers)
    yield Slot(0, offset, offset)


def _align(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _reserve(descriptor: int, size: int) -> None:
    try:
        # Fails now instead of with a SIGBUS when the first batch is written.
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        raise StartupError(
            f"{SHARED} has no room for {size} bytes of batches: {error}; enlarge it (in a "
            f"container: --shm-size), or use smaller --buckets"
        ) from error
