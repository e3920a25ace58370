"""A model file in the runtime of its format, whose package is imported in its module alone."""

from collections.abc import Sequence
from pathlib import Path

from bundle.manifest import Manifest, ModelFile
from serving.backends.backend import Backend
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
        root: the bundle's directory.
        manifest: its manifest.
        file: one of the manifest's files.
        device: where to run.
        instances: how many backends to return.
        buckets: the batch sizes that will run, rising; None for those of the file.
        settings: of the runtimes.

    Raises:
        StartupError: it cannot be loaded there.
        BundleError: it is not the file that the manifest states.
    """
    if settings.device_memory_mib and (device.kind in ("cpu", "tensorrt") or file.format != "onnx"):
        raise StartupError(
            f"--device-memory-mib bounds ONNX Runtime's own memory, on cuda and ascend; "
            f"it does not for {file.format} files on {device}"
        )
    if file.format == "onnx":
        from serving.backends.ort.backend import open_backends as open_onnx

        return open_onnx(
            root,
            manifest,
            file,
            device=device,
            instances=instances,
            buckets=list(buckets or file.buckets),
            settings=settings,
        )
    if file.format == "mindir-lite":
        from serving.backends.lite.backend import open_backends as open_lite

        return open_lite(
            root,
            manifest,
            file,
            device=device,
            instances=instances,
            threads=settings.threads,
            buckets=list(buckets or file.buckets),
            python=settings.lite_python,
            batch_timeout_s=settings.batch_timeout_s,
        )
    raise StartupError(f"{file.path}: no runtime here serves {file.format} files")
