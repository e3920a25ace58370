"""Opens ONNX Runtime sessions that run as configured, or raises: nothing falls back."""

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from bundle.files import held
from bundle.stamp import check_stamp
from serving.backends.backend import Target
from serving.backends.devices import Device
from serving.backends.graph import Found, check_graph
from serving.backends.hardware import missing
from serving.backends.ort.library import onnxruntime, preload
from serving.backends.ort.options import Options, Provider, engine_cache, providers
from serving.errors import StartupError

logger = logging.getLogger(__name__)

DTYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
ERRORS_ONLY = 3
# The operators that cost time; a graph's arithmetic on shapes may run on the host.
HEAVY = ("Conv", "MatMul", "Gemm")
PROGRESS_INTERVAL_S = 15.0


def open_session(
    target: Target, options: onnxruntime.SessionOptions | None = None
) -> onnxruntime.InferenceSession:
    """Open a session that runs the target's file on its device and nowhere else.

    `options` are those of `session_options`, or more; None for these.

    Raises:
        StartupError: something is missing for that, or ONNX Runtime does otherwise.
        BundleError: the file is not the one that the manifest states.
    """
    device, path = target.device, target.path
    if reason := missing("onnxruntime", device):
        raise StartupError(f"device {device}: {reason}")
    wanted = providers(target)
    prepare(target)
    with (
        nullcontext() if device.kind == "cpu" else log_progress(f"{device}: opening {path.name}"),
        held(target.root, target.file.parts) as descriptors,
    ):
        path_or_link = _openable(target, descriptors[target.file.path])
        session = _open(target, wanted, path_or_link, options or session_options(target))
    check_placement(session, device, wanted[0])
    check_graph(
        target,
        [_found(tensor) for tensor in session.get_inputs()],
        [_found(tensor) for tensor in session.get_outputs()],
    )
    check_stamp(path, target.manifest, target.file, session.get_modelmeta().custom_metadata_map)
    return session


@contextmanager
def log_progress(what: str, interval_s: float = PROGRESS_INTERVAL_S) -> Iterator[None]:
    """Log at intervals that `what` is not done yet, and at the end how long it took.

    For work that takes a runtime minutes without any output.
    """
    started, ended = time.monotonic(), threading.Event()

    def log() -> None:
        while not ended.wait(interval_s):
            logger.info("%s: not done after %.0f s", what, time.monotonic() - started)

    thread = threading.Thread(target=log, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    logger.info("%s: done in %.1f s", what, time.monotonic() - started)


def _openable(target: Target, descriptor: int) -> Path:
    """Return the path that leads to exactly the file that was hashed, where one can be used."""
    # External data is looked for beside the path, and TensorRT names engines after it.
    if target.file.external_data or target.device.kind == "tensorrt":
        return target.path
    return Path(f"/proc/self/fd/{descriptor}")


def session_options(target: Target) -> onnxruntime.SessionOptions:
    """Return the options of every session."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = target.settings.threads
    options.log_severity_level = ERRORS_ONLY
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options


def _open(
    target: Target,
    wanted: list[Provider],
    path: Path,
    options: onnxruntime.SessionOptions,
) -> onnxruntime.InferenceSession:
    try:
        # No fallback: ONNX Runtime would otherwise retry on the CPU and only print that to stdout.
        return onnxruntime.InferenceSession(path, options, wanted, enable_fallback=0)
    except Exception as error:
        reason = str(error).replace(str(path), str(target.path))
        raise StartupError(
            f"{target.path}: ONNX Runtime cannot load it on {target.device}: {reason}"
        ) from error


def prepare(target: Target) -> None:
    """Load the libraries that a session on the target's device needs, and make its folders.

    Raises `StartupError` if these cannot be made.
    """
    if target.device.kind == "tensorrt":
        _prepare_tensorrt(target)
    if target.device.kind in ("cuda", "tensorrt"):
        preload(target.device.kind)


def _prepare_tensorrt(target: Target) -> None:
    if target.file.precision == "fp32":
        # ONNX Runtime has no option for it, but NVIDIA's libraries read this variable.
        os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
    cache = engine_cache(target)
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartupError(
            f"TensorRT's engines cannot be kept in {cache}: {error.strerror}; choose another "
            f"folder with --cache-dir"
        ) from error
    if not os.access(cache, os.W_OK):
        raise StartupError(f"{cache} cannot be written; choose another folder with --cache-dir")
    if not any(cache.glob("*.engine")):
        logger.info("%s: building an engine takes minutes; it is kept in %s", target.device, cache)


def check_placement(
    session: onnxruntime.InferenceSession, device: Device, wanted: Provider
) -> None:
    """Raise `StartupError` unless a session reports the provider, options and nodes as wanted."""
    provider, options = wanted
    # A provider that cannot load its libraries is dropped with no more than a log line.
    if provider not in session.get_providers():
        raise StartupError(
            f"device {device} was asked for, but ONNX Runtime uses {session.get_providers()}; "
            f"check the driver and the libraries that {provider} needs"
        )
    if differing := _differing(options, session.get_provider_options()[provider]):
        raise StartupError(f"{provider} does not use the options that it was given: {differing}")
    heavy = _heavy(session)
    if elsewhere := {key: n for key, n in heavy.items() if key[1] != provider}:
        named = ", ".join(f"{n} {name} on {at}" for (name, at), n in sorted(elsewhere.items()))
        raise StartupError(f"device {device}: not all of the graph runs on {provider}: {named}")
    if not heavy:
        raise StartupError(f"device {device}: ONNX Runtime does not say what runs on {provider}")


def _differing(wanted: Options, used: Options) -> str:
    """Compare the options that the provider reports; it need not report all."""
    differing = {key: used[key] for key in wanted.keys() & used.keys() if used[key] != wanted[key]}
    return ", ".join(
        f"{key} is {value}, not {wanted[key]}" for key, value in sorted(differing.items())
    )


def _heavy(session: onnxruntime.InferenceSession) -> Counter[tuple[str, str]]:
    """Count the operators that cost time, by name and provider."""
    return Counter(
        (node.op_type, part.ep_name)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
        if any(name in node.op_type for name in HEAVY)
    )


def _found(tensor: onnxruntime.NodeArg) -> Found:
    batch = next((size for size in tensor.shape[:1] if isinstance(size, int)), None)
    return Found(tensor.name, DTYPES.get(tensor.type, tensor.type), batch)
