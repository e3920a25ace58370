"""Worker processes, what they share, and their end.

They are started afresh, not forked: MindSpore's threads would not survive that. The memory that
they share has no name, so that nothing is left of it however a run ends, and no mount limits it.
"""

import mmap
import os
import selectors
import signal
import socket
import subprocess
import sys
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack

from training.data.worker import MESSAGE_BYTES, NOWHERE, Layout

# Else the libraries of numpy start a thread per core in each process, as they are loaded.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class ProcessDiedError(Exception):
    """A worker has ended, which none does by itself.

    Attributes:
        place: of the pixels that it was making; NOWHERE if none.
        how: what became of it, as "ended with exit code 1".
    """

    def __init__(self, place: int, how: str) -> None:
        super().__init__(how)
        self.place, self.how = place, how


class Processes:
    """Processes of `python -m training.data.worker`; they end with this object or this process.

    Attributes:
        pids: their numbers.
        pixels: uint8 (places, height, width, 3), shared with them.
        end: ends them at once.
    """

    def __init__(self, layout: Layout) -> None:
        resources = ExitStack()
        self.end = weakref.finalize(self, resources.close)
        self._selector = resources.enter_context(selectors.DefaultSelector())
        self._waiting: deque[bytes] = deque()
        self.pids: list[int] = []
        with ExitStack() as theirs:
            memory = os.memfd_create("pixels")
            theirs.callback(os.close, memory)
            os.ftruncate(memory, layout.nbytes)
            self._at, self.pixels = layout.views(mmap.mmap(memory, layout.nbytes))
            self._at[:] = NOWHERE
            # Of this type a message is one, and goes to one of those who wait for it.
            (self._requests, a), (self._answers, b) = (
                socket.socketpair(type=socket.SOCK_SEQPACKET) for _ in range(2)
            )
            for mine, other in ((self._requests, a), (self._answers, b)):
                resources.enter_context(mine)
                theirs.enter_context(other)
            self._requests.settimeout(0)
            self._selector.register(self._answers, selectors.EVENT_READ)
            for number in range(layout.workers):
                process = _start(layout, number, (a.fileno(), b.fileno(), memory))
                resources.callback(_kill, process)
                self.pids.append(process.pid)
                alive = os.pidfd_open(process.pid)
                resources.callback(os.close, alive)
                self._selector.register(alive, selectors.EVENT_READ, (number, process))

    def request(self, message: bytes) -> None:
        """Have `answers` send a message, to the first worker that is free."""
        if not self._waiting:
            self._selector.register(self._requests, selectors.EVENT_WRITE)
        self._waiting.append(message)

    def answers(self) -> Iterator[bytes]:
        """Send and yield what can be; wait until something can; raise ProcessDiedError."""
        for key, _ in self._selector.select():
            if key.fileobj is self._requests:
                self._send()
            elif key.fileobj is not self._answers:
                number, process = key.data
                raise ProcessDiedError(int(self._at[number]), _how(process.wait()))
            elif message := self._answers.recv(MESSAGE_BYTES):
                yield message
            else:  # all have closed it, and are about to end
                self._selector.unregister(self._answers)

    def _send(self) -> None:
        """Send as many messages as the socket takes."""
        try:
            while self._waiting:
                self._requests.send(self._waiting[0])
                self._waiting.popleft()
        except BlockingIOError:
            return
        except ConnectionError:
            pass  # all have ended, which `answers` finds out
        self._selector.unregister(self._requests)


def _start(layout: Layout, number: int, shared: tuple[int, int, int]) -> "subprocess.Popen[bytes]":
    """Start a worker that imports what this process can, and gets no Ctrl-C from a terminal."""
    sizes = (layout.workers, layout.places, layout.height, layout.width)
    arguments = (*shared, number, *sizes)
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)  # noqa: PTH109
    return subprocess.Popen(  # noqa: S603 - this very Python
        [sys.executable, "-P", "-m", "training.data.worker", *map(str, arguments)],
        pass_fds=shared,
        env=os.environ | ONE_THREAD | {"PYTHONPATH": path},
        process_group=0,
        stdin=subprocess.DEVNULL,
    )


def _kill(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


def _how(code: int) -> str:
    """Return what an exit code of Popen says."""
    if code >= 0:
        return f"ended with exit code {code}, for the reason above"
    name = signal.Signals(-code).name
    hint = ", as the system does when memory is short" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"
