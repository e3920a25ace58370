"""A checkpoint as the original of a bundle: our own, or bare weights of others."""

from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from bundle.store import first_mistake, sha256
from export.config import ExportConfig
from export.errors import ExportError
from export.formats import mindir, onnx_file
from export.graph import Deployment, predictor
from export.labels import read_labels
from export.original import IMAGES_AT_ONCE, FileFormat, Original
from export.transform_kinds import with_kinds
from images.transform import Size, Transform
from training.checkpoint.networks import TrainedNetwork, open_trained
from training.distributed import use_device

WRITERS: dict[FileFormat, Callable[[Deployment, Path], None]] = {
    "ONNX": onnx_file.write,
    "MINDIR": mindir.write,
    "AIR": mindir.write_air,
}


def from_checkpoint(config: ExportConfig) -> Original:
    """Return the checkpoint, running in MindSpore on the device asked for.

    Raises:
        ExportError: flags and checkpoint contradict each other.
        TrainingError: there is no such device, or no sound checkpoint of that architecture.
    """
    trained, labels, transform = open_checkpoint(config)
    deployment = Deployment(trained.net, trained.normalization, transform.crop)
    return Original(
        architecture=trained.architecture,
        sha256=sha256(config.ckpt_file),
        labels=labels,
        transform=with_kinds(transform, config),
        normalization=trained.normalization,
        predict=predictor(deployment.graph(), IMAGES_AT_ONCE),
        write=lambda file_format, path: WRITERS[file_format](deployment, path),
    )


def open_checkpoint(config: ExportConfig) -> tuple[TrainedNetwork, list[str], Transform]:
    """Return the network on the device asked for, its labels and the transform of its images.

    Raises what `from_checkpoint` raises.
    """
    use_device(config.device_target, config.device_id)
    trained = open_trained(config.ckpt_file, config.architecture, config.transform)
    return trained, *_described(trained, config)


def _described(trained: TrainedNetwork, config: ExportConfig) -> tuple[list[str], Transform]:
    """Return labels and transform; flags may repeat what a .json states, not contradict it."""
    crop = trained.transform.crop
    size = Size(height=config.height or crop.height, width=config.width or crop.width)
    labels = read_labels(config.labels) if config.labels else trained.labels
    if trained.labels is None:
        return _labels(labels, trained.num_classes), _cropped(trained.transform, size)
    for flag, asked, stated in (
        ("height", size.height, crop.height),
        ("width", size.width, crop.width),
        ("labels", labels, trained.labels),
    ):
        if asked != stated:
            raise ExportError(
                f"--{flag} asks for {asked}, but the checkpoint was evaluated with {stated}; "
                f"leave the flag out"
            )
    return trained.labels, trained.transform


def _labels(named: list[str] | None, classes: int) -> list[str]:
    labels = named or [str(index) for index in range(classes)]
    if len(labels) != classes:
        raise ExportError(f"the checkpoint has {classes} classes, --labels names {len(labels)}")
    return labels


def _cropped(transform: Transform, size: Size) -> Transform:
    try:
        return Transform.model_validate(dict(transform) | {"crop": size})
    except ValidationError as error:
        raise ExportError(f"--height, --width: {first_mistake(error)}") from error
