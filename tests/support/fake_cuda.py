"""Stand-ins for CUDA: its runtime library, and a session that records graphs, on a CPU."""

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from serving.backends.ort.library import onnxruntime


class Cudart:
    """Notes what is called, on which GPU and thread; `refusal` is what locking memory returns."""

    def __init__(self, refusal: int = 0) -> None:
        self.refusal = refusal
        self.calls: list[str] = []
        self.gpus: set[int] = set()
        self.threads: set[int] = set()
        self.locked: list[tuple[int, int, int]] = []
        self._current = threading.local()

    def cudaSetDevice(self, ordinal: int) -> int:  # noqa: N802 - CUDA's name
        """Choose a GPU for the calls of this thread."""
        self._current.gpu = ordinal
        return 0

    def cudaHostRegister(self, address: Any, size: Any, flags: int) -> int:  # noqa: N802
        """Lock memory, or refuse to."""
        self._note("lock")
        if not self.refusal:
            self.locked.append((address.value, size.value, flags))
        return self.refusal

    def cudaHostUnregister(self, address: Any) -> int:  # noqa: N802
        """Unlock memory that is locked."""
        self._note("unlock")
        self.locked = [entry for entry in self.locked if entry[0] != address.value]
        return 0

    def cudaGetLastError(self) -> int:  # noqa: N802
        """Return this thread's last error, and forget it."""
        self._note("forget")
        return self.refusal

    def _note(self, call: str) -> None:
        self.calls.append(call)
        self.gpus.add(getattr(self._current, "gpu", 0))
        self.threads.add(threading.get_ident())


class Run(NamedTuple):
    """A run of a session: batch size, `gpu_graph_id`, and the thread."""

    bucket: int
    graph: int
    thread: int

    @property
    def records(self) -> bool:
        """Whether the graph is recorded, if it has not been yet."""
        return self.graph >= 0


class RecordingSession:
    """A session on a CPU that notes its runs.

    Args:
        session: runs them.
        before_run: called before each run; may block, and may raise to fail it.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        before_run: Callable[[Run], None] = lambda _: None,
    ) -> None:
        self._session, self._before_run = session, before_run
        self.runs: list[Run] = []

    def io_binding(self) -> onnxruntime.IOBinding:
        """Return a binding of the real session."""
        return self._session.io_binding()

    def run_with_iobinding(
        self, binding: onnxruntime.IOBinding, options: onnxruntime.RunOptions
    ) -> None:
        """Run what is bound."""
        [output] = binding.get_outputs()
        graph = int(options.get_run_config_entry("gpu_graph_id"))
        run = Run(output.shape()[0], graph, threading.get_ident())
        self.runs.append(run)
        self._before_run(run)
        self._session.run_with_iobinding(binding, options)
