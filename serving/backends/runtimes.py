"""The runtimes: which one runs which of a bundle's files, and how that file is opened."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from bundle.manifest import Format, Manifest, ModelFile, Precision
from serving.backends.backend import Backend, Target
from serving.backends.devices import Device, Kind
from serving.backends.hardware import missing
from serving.backends.sealed import SealedModel
from serving.backends.settings import DEFAULTS, Runtime, RuntimeSettings
from serving.errors import StartupError

logger = logging.getLogger(__name__)

FORMATS: dict[Runtime, Format] = {
    "onnxruntime": "onnx",
    "openvino": "onnx",
    "mindspore-lite": "mindir-lite",
}
# In order of preference.
RUNTIMES: dict[Kind, tuple[Runtime, ...]] = {
    "cpu": ("onnxruntime", "openvino", "mindspore-lite"),
    "cuda": ("onnxruntime",),
    "tensorrt": ("onnxruntime",),
    "ascend": ("mindspore-lite", "onnxruntime"),
}
# On a CPU the fastest differs by precision, and only one has kernels for bf16.
CPU_RUNTIMES: dict[Precision, tuple[Runtime, ...]] = {
    "int8": ("openvino", "onnxruntime", "mindspore-lite"),
    "bf16": ("openvino",),
}
NO_BF16 = "only OpenVINO computes in it, on a CPU"
# What no runtime computes on a device, and why.
REFUSED: dict[tuple[Kind, Precision], str] = {
    ("cuda", "int8"): "ONNX Runtime has no kernel there for the int32 biases of such a file",
    ("tensorrt", "int8"): "TensorRT takes no zero point other than 0, and such a file has some",
    ("cuda", "bf16"): NO_BF16,
    ("tensorrt", "bf16"): NO_BF16,
    ("ascend", "bf16"): NO_BF16,
}
REDUCED: tuple[Precision, ...] = ("fp16", "fp32")
PRECISIONS: dict[Kind, tuple[Precision, ...]] = {
    "cpu": ("fp32",),
    "cuda": REDUCED,
    "tensorrt": REDUCED,
    "ascend": REDUCED,
}


class Choice(NamedTuple):
    """A model file, and the runtime for it."""

    runtime: Runtime
    file: ModelFile


def runtimes(device: Device, precision: Precision | None) -> tuple[Runtime, ...]:
    """Return what runs a precision on a device, best first; None for the device's usual one.

    Empty if nothing does.
    """
    able = RUNTIMES[device.kind]
    if precision and (device.kind, precision) in REFUSED:
        return ()
    if device.kind != "cpu" or precision is None:
        return able
    return CPU_RUNTIMES.get(precision, able)


def serving(file: ModelFile, device: Device) -> list[Runtime]:
    """Return the runtimes that run this file on a device of this machine, best first."""
    return [
        runtime
        for runtime in runtimes(device, file.precision)
        if FORMATS[runtime] == file.format
        and not missing(runtime, device, precision=file.precision)
    ]


def choose(
    manifest: Manifest,
    device: Device,
    precision: Precision | None = None,
    runtime: Runtime | Literal["auto"] = "auto",
    lite_python: Path | None = None,
) -> Choice:
    """Return the model file to run, and the runtime to run it in.

    Args:
        manifest: the bundle's manifest.
        device: device to run on.
        precision: None for fp32 on a CPU; on other devices fp16 if the bundle holds it, else fp32.
        runtime: "auto" for the first of `runtimes` that can run one of the bundle's files.
        lite_python: the interpreter that has mindspore_lite; None for this one.

    Raises:
        StartupError: there is no such file, or nothing can run it here; it gives all reasons.
    """
    _check_precision(device, precision)
    reasons: list[str] = []
    for candidate in _candidates(device, precision, runtime):
        file = _find(manifest, candidate, device, precision)
        reason = (
            missing(candidate, device, lite_python, file.precision)
            if file
            else _no_file(candidate, precision)
        )
        if file and not reason:
            if runtime == "auto":
                logger.info("%s: %s on %s is chosen", manifest.name, candidate, device)
            return Choice(candidate, file)
        if runtime == "auto":
            level = logging.WARNING if file else logging.INFO
            logger.log(level, "%s: not %s: %s", manifest.name, candidate, reason)
        reasons.append(f"{candidate}: {reason}")
    held = ", ".join(f"{f.format} {f.precision}" for f in manifest.files)
    raise StartupError(
        f"{manifest.name}/{manifest.version} (holds: {held}) cannot run on {device}: "
        f"{'; '.join(reasons)}"
    )


def load(
    root: Path,
    manifest: Manifest,
    file: ModelFile,
    *,
    device: Device,
    runtime: Runtime | None = None,
    instances: int = 1,
    buckets: Sequence[int] | None = None,
    settings: RuntimeSettings = DEFAULTS,
    sealed: SealedModel | None = None,
) -> list[Backend]:
    """Load a model file of the bundle at `root`.

    Args:
        root: directory of the bundle.
        manifest: manifest of the bundle.
        file: one of the manifest's files.
        device: device to run on.
        runtime: what runs it; None for the first of `RUNTIMES` that runs its format and precision.
        instances: number of backends to return.
        buckets: batch sizes that will run, ascending; None for those of the file.
        settings: settings of the runtimes.
        sealed: what `seal` returned; it takes the place of the file.

    Raises:
        StartupError: the file cannot be loaded on that device.
        BundleError: the file is not the one that the manifest states.
    """
    _check_settings(file, device, settings)
    target = Target(root, manifest, file, device, list(buckets or file.buckets), settings, sealed)
    if runtime is None:
        runtime = _usual(file, device)
    else:
        _check_runs(runtime, device, file.precision)
    return _opener(runtime)(target, instances)


def seal(
    root: Path,
    manifest: Manifest,
    file: ModelFile,
    *,
    runtime: Runtime,
    device: Device,
    buckets: Sequence[int],
    settings: RuntimeSettings,
) -> SealedModel | None:
    """Return what a runtime makes of a file once for all instances, in memory that is sealed.

    None if it makes nothing that could be handed over. Arguments and errors are those of `load`.
    """
    if runtime != "onnxruntime" or device.kind != "cpu":
        return None
    _check_settings(file, device, settings)
    from serving.backends.ort.shared import seal_model

    return seal_model(Target(root, manifest, file, device, buckets, settings))


def _check_settings(file: ModelFile, device: Device, settings: RuntimeSettings) -> None:
    _check_precision(device, file.precision)
    if settings.device_memory_mib and (device.kind in ("cpu", "tensorrt") or file.format != "onnx"):
        raise StartupError(
            f"--device-memory-mib limits ONNX Runtime's own memory, on cuda and ascend; "
            f"it does not apply to {file.format} files on {device}"
        )
    if settings.cuda_options and device.kind != "cuda":
        raise StartupError(f"--cuda-options are for cuda; they do not apply to {device}")


def _opener(runtime: Runtime) -> Callable[[Target, int], list[Backend]]:
    """Return what opens backends of a runtime; only the package of that runtime is imported."""
    if runtime == "onnxruntime":
        from serving.backends.ort.backend import open_backends as open_ort

        return open_ort
    if runtime == "openvino":
        from serving.backends.openvino.backend import open_backends as open_openvino

        return open_openvino
    from serving.backends.lite.backend import open_backends as open_lite

    return open_lite


def _usual(file: ModelFile, device: Device) -> Runtime:
    able = runtimes(device, file.precision)
    for runtime in RUNTIMES[device.kind]:
        if runtime in able and FORMATS[runtime] == file.format:
            return runtime
    raise StartupError(
        f"{file.path}: this server has no runtime for {file.format} files in {file.precision} on "
        f"{device}"
    )


def _candidates(
    device: Device, precision: Precision | None, runtime: Runtime | Literal["auto"]
) -> Iterator[Runtime]:
    if runtime == "auto":
        yield from runtimes(device, precision)
    else:
        _check_runs(runtime, device, precision)
        yield runtime


def _check_precision(device: Device, precision: Precision | None) -> None:
    if precision and (reason := REFUSED.get((device.kind, precision))):
        raise StartupError(
            f"{precision} does not run on {device}: {reason}; use --precision "
            f"{' or '.join(PRECISIONS[device.kind])} there, or --device cpu"
        )


def _check_runs(runtime: Runtime, device: Device, precision: Precision | None) -> None:
    able = runtimes(device, precision)
    if runtime not in able:
        what = f"{precision} on {device}" if runtime in RUNTIMES[device.kind] else f"on {device}"
        raise StartupError(f"{runtime} does not run {what}; use --runtime {able[0]}")


def _find(
    manifest: Manifest, runtime: Runtime, device: Device, precision: Precision | None
) -> ModelFile | None:
    held = {
        f.precision: f
        for f in manifest.files
        if f.format == FORMATS[runtime]
        and (f.conversion is None or f.conversion.device == device.kind)
    }
    wanted = (precision,) if precision else PRECISIONS[device.kind]
    return next((held[p] for p in wanted if p in held), None)


def _no_file(runtime: Runtime, precision: Precision | None) -> str:
    return f"the bundle holds no {FORMATS[runtime]} file" + (f" in {precision}" * bool(precision))
