"""Sessions of ONNX Runtime that do what was asked, or an error."""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import onnxruntime

from bundle.manifest import Manifest, ModelFile, Tensor
from bundle.stamp import check_stamp
from serving.backends.devices import Device
from serving.backends.hardware import missing
from serving.backends.ort.options import Options, Provider, engine_cache, providers
from serving.backends.ort.progress import told
from serving.backends.settings import RuntimeSettings
from serving.errors import StartupError

logger = logging.getLogger(__name__)

TYPES = {"uint8": "tensor(uint8)", "float32": "tensor(float)"}
ERRORS_ONLY = 3
# What costs time; a graph's arithmetic on shapes may run on the host.
HEAVY = ("Conv", "MatMul", "Gemm")


def open_session(
    root: Path,
    manifest: Manifest,
    file: ModelFile,
    device: Device,
    buckets: Sequence[int],
    settings: RuntimeSettings,
) -> onnxruntime.InferenceSession:
    """Open a session that runs a file of the bundle at `root` on `device` and nowhere else.

    Raises:
        StartupError: something is missing for that, or ONNX Runtime does otherwise than asked.
        BundleError: the file is not the one that the manifest states.
    """
    if reason := missing("onnxruntime", device):
        raise StartupError(f"device {device}: {reason}")
    wanted = providers(manifest, file, device, buckets, settings)
    if device.kind == "tensorrt":
        _prepare_tensorrt(file, device, settings)
    if device.kind in ("cuda", "tensorrt"):
        # Finds the CUDA libraries that come as Python packages.
        onnxruntime.preload_dlls()
    path = root / file.path
    with nullcontext() if device.kind == "cpu" else told(f"{device}: opening {path.name}"):
        session = _open(path, device, settings.threads, wanted)
    check_placement(session, device, wanted[0])
    _check_tensor(path, session.get_inputs(), manifest.input)
    _check_tensor(path, session.get_outputs(), manifest.output)
    check_stamp(path, manifest, file, session.get_modelmeta().custom_metadata_map)
    return session


def _open(
    path: Path, device: Device, threads: int, wanted: list[Provider]
) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = ERRORS_ONLY
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        # Without a fallback: ONNX Runtime would else try again on the CPU and say it to stdout.
        return onnxruntime.InferenceSession(path, options, wanted, enable_fallback=0)
    except Exception as error:
        raise StartupError(f"{path}: ONNX Runtime cannot load it on {device}: {error}") from error


def _prepare_tensorrt(file: ModelFile, device: Device, settings: RuntimeSettings) -> None:
    if file.precision == "fp32":
        # TensorRT has no option for it in ONNX Runtime, but NVIDIA's libraries read this variable.
        os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
    cache = engine_cache(file, settings)
    cache.mkdir(parents=True, exist_ok=True)
    if not any(cache.glob("*.engine")):
        logger.info("%s: building an engine takes minutes; it is kept in %s", device, cache)


def check_placement(
    session: onnxruntime.InferenceSession, device: Device, wanted: Provider
) -> None:
    """Compare what a session says it uses with what was asked for; raise `StartupError`."""
    provider, options = wanted
    # A provider that cannot load its libraries is dropped with no more than a log line.
    if provider not in session.get_providers():
        raise StartupError(
            f"device {device} was asked for, but ONNX Runtime uses {session.get_providers()}; "
            f"check the driver and the libraries that {provider} needs"
        )
    if differing := _differing(options, session.get_provider_options()[provider]):
        raise StartupError(f"{provider} does not take over its options: {differing}")
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


def _check_tensor(path: Path, found: list[onnxruntime.NodeArg], stated: Tensor) -> None:
    if [(tensor.name, tensor.type) for tensor in found] != [(stated.name, TYPES[stated.dtype])]:
        held = ", ".join(f"{tensor.name}: {tensor.type}" for tensor in found)
        raise StartupError(
            f"{path}: the manifest states {stated.name}: {TYPES[stated.dtype]}, "
            f"but the graph has {held}"
        )
