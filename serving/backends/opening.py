"""Opens a model file in the runtime of its format; only that runtime's package is imported."""

from collections.abc import Sequence
from pathlib import Path

from bundle.manifest import Manifest, ModelFile
from serving.backends.backend import Backend, Target
from serving.backends.devices import Device
from serving.backends.settings import DEFAULTS, RuntimeSettings
from serving.errors import StartupError


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
