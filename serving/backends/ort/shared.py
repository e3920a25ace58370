"""A model that ONNX Runtime has optimised, in memory that all its sessions on a CPU read."""

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from serving.backends.backend import Target
from serving.backends.ort.library import onnxruntime
from serving.backends.ort.options import providers
from serving.backends.ort.session import check_placement, open_session, session_options
from serving.errors import StartupError

# Smaller tensors stay in the graph: ONNX Runtime reads some of them, such as shapes, on loading.
SMALLEST_BYTES = 1024
# Until a thread of a session sleeps when there is no work within a run. It spins meanwhile, which
# is quicker, but keeps its core from whoever else comes.
SPIN_US = 50


class SharedModel(NamedTuple):
    """An optimised graph, and the weights that it calls `location`; sessions must not outlive it.

    It is good for the CPU that optimised it only: weights lie as its vector registers want them.
    """

    graph: bytes
    location: str
    weights: mmap.mmap

    def open(self, target: Target, threads: int) -> onnxruntime.InferenceSession:
        """Open a session that runs a batch on this many threads.

        Raises:
            StartupError: ONNX Runtime cannot.
        """
        options = session_options(target)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_external_initializers_from_files_in_memory(
            [self.location], [self.weights], [len(self.weights)]
        )
        entries = {"session.use_external_initializer_file_buffers_directly": "1"}
        if threads > 1:
            options.intra_op_num_threads = threads
            entries |= {
                "session.intra_op.spin_duration_us": str(SPIN_US),
                "session.force_spinning_stop": "1",
                "session.intra_op_thread_affinities": _affinities(threads),
            }
        for key, value in entries.items():
            options.add_session_config_entry(key, value)
        wanted = providers(target)
        try:
            session = onnxruntime.InferenceSession(self.graph, options, wanted, enable_fallback=0)
        except Exception as error:
            raise StartupError(
                f"{target.path}: ONNX Runtime cannot load what it has optimised: {error}"
            ) from error
        check_placement(session, target.device, wanted[0])
        return session


def share_model(target: Target) -> SharedModel:
    """Have ONNX Runtime optimise the target's file; raise as `open_session` does."""
    with _memory("graph") as graph, _memory("weights") as weights:
        options = session_options(target)
        options.optimized_model_filepath = f"/proc/self/fd/{graph}"
        for key, value in {
            # A name in the graph's folder, and so that of the other memory.
            "file_name": str(weights),
            "min_size_in_bytes": str(SMALLEST_BYTES),
        }.items():
            options.add_session_config_entry(
                f"session.optimized_model_external_initializers_{key}", value
            )
        open_session(target, options)
        if not os.fstat(weights).st_size:
            os.ftruncate(weights, 1)  # an empty file cannot be mapped
        return SharedModel(
            os.pread(graph, os.fstat(graph).st_size, 0),
            str(weights),
            mmap.mmap(weights, 0, prot=mmap.PROT_READ),
        )


@contextmanager
def _memory(name: str) -> Iterator[int]:
    """Make a file without a folder, which stays while it is open or mapped."""
    descriptor = os.memfd_create(name)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _affinities(threads: int) -> str:
    """Return a core for each thread of a session but the first, which is its caller.

    A thread that sleeps and is woken for a run often begins on its waker's core, and then both take
    longer than one alone would have: 6.6 ms in place of 5.4 where two cores take 3.4.
    """
    cores = sorted(os.sched_getaffinity(0))
    return ";".join(str(cores[-1 - number % len(cores)] + 1) for number in range(threads - 1))
