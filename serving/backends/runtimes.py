"""The runtimes: which one runs which of a bundle's files, and how that file is opened."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from bundle.manifest import Format, Manifest, ModelFile, Precision
from serving.backends.backend import Backend, Target
from serving.backends.devices import Device, Kind
from serving.backends.hardware import missing
from serving.backends.settings import DEFAULTS, Runtime, RuntimeSettings
from serving.errors import StartupError

logger = logging.getLogger(__name__)

FORMATS: dict[Runtime, Format] = {"onnxruntime": "onnx", "mindspore-lite": "mindir-lite"}
# In order of preference.
RUNTIMES: dict[Kind, tuple[Runtime, ...]] = {
    "cpu": ("onnxruntime", "mindspore-lite"),
    "cuda": ("onnxruntime",),
    "tensorrt": ("onnxruntime",),
    "ascend": ("mindspore-lite", "onnxruntime"),
}
REDUCED: tuple[Precision, ...] = ("fp16", "fp32")
PRECISIONS: dict[Kind, tuple[Precision, ...]] = {
    "cpu": ("fp32",),
    "cuda": REDUCED,
    "tensorrt": REDUCED,
    "ascend": REDUCED,
}


def choose_file(
    manifest: Manifest,
    device: Device,
    precision: Precision | None = None,
    runtime: Runtime | Literal["auto"] = "auto",
    lite_python: Path | None = None,
) -> ModelFile:
    """Return the model file to run; its format decides the runtime.

    Args:
        manifest: the bundle's manifest.
        device: device to run on.
        precision: None for fp32 on a CPU; on other devices fp16 if the bundle holds it, else fp32.
        runtime: "auto" for the first of `RUNTIMES` that can run one of the bundle's files.
        lite_python: the interpreter that has mindspore_lite; None for this one.

    Raises:
        StartupError: there is no such file, or nothing can run it here; it gives all reasons.
    """
    reasons: list[str] = []
    for candidate in _candidates(device, runtime):
        file = _find(manifest, candidate, device, precision)
        reason = missing(candidate, device, lite_python) if file else _no_file(candidate, precision)
        if file and not reason:
            if runtime == "auto":
                logger.info("%s: %s on %s is chosen", manifest.name, candidate, device)
            return file
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
    instances: int = 1,
    buckets: Sequence[int] | None = None,
    settings: RuntimeSettings = DEFAULTS,
) -> list[Backend]:
    """Load a model file of the bundle at `root` in the runtime of its format.

    Only the package of that runtime is imported.

    Args:
        root: directory of the bundle.
        manifest: manifest of the bundle.
        file: one of the manifest's files.
        device: device to run on.
        instances: number of backends to return.
        buckets: batch sizes that will run, ascending; None for those of the file.
        settings: settings of the runtimes.

    Raises:
        StartupError: the file cannot be loaded on that device.
        BundleError: the file is not the one that the manifest states.
    """
    if settings.device_memory_mib and (device.kind in ("cpu", "tensorrt") or file.format != "onnx"):
        raise StartupError(
            f"--device-memory-mib limits ONNX Runtime's own memory, on cuda and ascend; "
            f"it does not apply to {file.format} files on {device}"
        )
    target = Target(root, manifest, file, device, list(buckets or file.buckets), settings)
    if file.format == "onnx":
        from serving.backends.ort.backend import open_backends as open_onnx

        return open_onnx(target, instances)
    if file.format == "mindir-lite":
        from serving.backends.lite.backend import open_backends as open_lite

        return open_lite(target, instances)
    raise StartupError(f"{file.path}: this server has no runtime for {file.format} files")


def _candidates(device: Device, runtime: Runtime | Literal["auto"]) -> Iterator[Runtime]:
    able = RUNTIMES[device.kind]
    if runtime == "auto":
        yield from able
    elif runtime in able:
        yield runtime
    else:
        raise StartupError(f"{runtime} does not run on {device}; use --runtime {able[0]}")


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
