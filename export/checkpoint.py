"""A MindSpore checkpoint as the original of a bundle: our own, or one of the upstream scripts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from bundle.manifest import Normalization
from bundle.store import sha256
from export.config import ExportConfig
from export.errors import ExportError
from export.formats import mindir, onnx_file
from export.graph import Deployment, predictor
from export.original import IMAGES_AT_ONCE, FileFormat, Original, read_labels
from images.transform import Size, Transform
from training.checkpoint import checkpoints, upstream
from training.device import use

WRITERS: dict[FileFormat, Callable[[Deployment, Path], None]] = {
    "ONNX": onnx_file.write,
    "MINDIR": mindir.write,
    "AIR": mindir.write_air,
}


class Loaded(NamedTuple):
    """A network in evaluation mode, and what it means."""

    network: Any
    architecture: str
    labels: list[str]
    transform: Transform
    normalization: Normalization


def from_checkpoint(config: ExportConfig) -> Original:
    """Return the checkpoint, running in MindSpore on the device asked for.

    Raises:
        ExportError: flags and checkpoint contradict each other.
        TrainingError: there is no such device, or no sound checkpoint.
    """
    use(config.device_target, config.device_id)
    bare = config.ckpt_file.is_file() and not config.ckpt_file.with_suffix(".json").exists()
    loaded = _of_upstream(config) if bare else _of_ours(config)
    deployment = Deployment(loaded.network, loaded.normalization, loaded.transform.crop)
    return Original(
        architecture=loaded.architecture,
        sha256=sha256(config.ckpt_file),
        labels=loaded.labels,
        transform=loaded.transform,
        normalization=loaded.normalization,
        predict=predictor(deployment.graph(), IMAGES_AT_ONCE),
        write=lambda file_format, path: WRITERS[file_format](deployment, path),
    )


def _of_ours(config: ExportConfig) -> Loaded:
    """Load a checkpoint of ours; flags may repeat what its .json states, not contradict it."""
    network, info = checkpoints.load_network(config.ckpt_file)
    size = info.transform.crop
    labels = read_labels(config.labels) if config.labels else info.labels
    for flag, asked, stated in (
        ("architecture", config.architecture or info.architecture, info.architecture),
        ("height", config.height or size.height, size.height),
        ("width", config.width or size.width, size.width),
        ("labels", labels, info.labels),
    ):
        if asked != stated:
            raise ExportError(
                f"--{flag} asks for {asked}, but the checkpoint was evaluated with {stated}; "
                f"leave the flag out"
            )
    return Loaded(network, info.architecture, info.labels, info.transform, info.normalization)


def _of_upstream(config: ExportConfig) -> Loaded:
    """Load a checkpoint of the upstream scripts, with the transform that they evaluate with."""
    if config.architecture is None:
        raise ExportError(
            f"{config.ckpt_file} has no {config.ckpt_file.with_suffix('.json').name} beside it; "
            f"if it comes from the upstream scripts, say what it is: "
            f"--architecture resnext152_64x4d"
        )
    network, classes = upstream.load_network(config.ckpt_file, config.architecture)
    labels = read_labels(config.labels) if config.labels else [str(i) for i in range(classes)]
    if len(labels) != classes:
        raise ExportError(f"the checkpoint has {classes} classes, --labels names {len(labels)}")
    crop = Size(height=config.height or upstream.CROP, width=config.width or upstream.CROP)
    try:
        transform = Transform(resize=upstream.RESIZE, crop=crop, antialias=False)
    except ValidationError as error:
        raise ExportError(f"--height, --width: {error.errors()[0]['msg']}") from error
    return Loaded(network, config.architecture, labels, transform, upstream.NORMALIZATION)
