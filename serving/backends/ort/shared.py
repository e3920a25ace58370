"""A model that ONNX Runtime has optimised, in sealed memory that all its sessions on a CPU read."""

import mmap
import os

from serving.backends.backend import Target
from serving.backends.ort.library import onnxruntime
from serving.backends.ort.options import providers
from serving.backends.ort.session import check_placement, open_session, session_options
from serving.backends.sealed import SealedModel, memory
from serving.errors import StartupError

# Smaller tensors stay in the graph: ONNX Runtime reads some of them, such as shapes, on loading.
SMALLEST_BYTES = 1024
# Until a thread of a session sleeps when there is no work within a run. It spins meanwhile, which
# is quicker, but keeps its core from whoever else comes.
SPIN_US = 50
# The part of a sealed model with the graph; the other one is the weights, named as it names them.
GRAPH = "graph"
LIBRARY = f"ONNX Runtime {onnxruntime.__version__}"


class SharedModel:
    """An optimised graph, and the weights to which it refers; sessions must not outlive it.

    Args:
        sealed: what `seal_model` has made, perhaps in another process.

    Raises:
        StartupError: another version of ONNX Runtime has made it.
    """

    def __init__(self, sealed: SealedModel) -> None:
        sealed.check_made_by(LIBRARY)
        self._sealed = sealed
        [self._location] = sealed.parts.keys() - {GRAPH}
        # Private: older kernels refuse to share what nobody may write. The pages are the same.
        self._weights = mmap.mmap(
            sealed.parts[self._location], 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ
        )

    def open(self, target: Target) -> onnxruntime.InferenceSession:
        """Open a session with the threads of the target's settings; raise `StartupError`."""
        return self._open(target, session_options(target))

    def open_wide(self, target: Target, threads: int) -> onnxruntime.InferenceSession:
        """Open a session that runs a batch on this many cores; raise `StartupError`."""
        options = session_options(target)
        options.intra_op_num_threads = threads
        for key, value in {
            "session.intra_op.spin_duration_us": str(SPIN_US),
            "session.force_spinning_stop": "1",
            "session.intra_op_thread_affinities": _affinities(threads),
        }.items():
            options.add_session_config_entry(key, value)
        return self._open(target, options)

    def _open(
        self, target: Target, options: onnxruntime.SessionOptions
    ) -> onnxruntime.InferenceSession:
        graph = self._sealed.parts[GRAPH]
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.add_external_initializers_from_files_in_memory(
            [self._location], [self._weights], [len(self._weights)]
        )
        options.add_session_config_entry(
            "session.use_external_initializer_file_buffers_directly", "1"
        )
        wanted = providers(target)
        try:
            session = onnxruntime.InferenceSession(
                os.pread(graph, os.fstat(graph).st_size, 0), options, wanted, enable_fallback=0
            )
        except Exception as error:
            raise StartupError(
                f"{target.path}: ONNX Runtime cannot load what it has optimised: {error}"
            ) from error
        check_placement(session, target.device, wanted[0])
        return session


def seal_model(target: Target) -> SealedModel:
    """Have ONNX Runtime optimise the target's file; raise as `open_session` does."""
    graph, weights = memory(), memory()
    sealed = SealedModel(LIBRARY, {GRAPH: graph, str(weights): weights})
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
    sealed.seal()
    return sealed


def _affinities(threads: int) -> str:
    """Return a core for each thread of a session but the first, which is its caller.

    A thread that sleeps and is woken for a run often begins on its waker's core, and then both take
    longer than one alone would have: 6.6 ms in place of 5.4 where two cores take 3.4.
    """
    cores = sorted(os.sched_getaffinity(0))
    return ";".join(str(cores[-1 - number % len(cores)] + 1) for number in range(threads - 1))
