"""What is evaluated: a checkpoint of ours, which describes itself, or one of the upstream."""

from pathlib import Path
from typing import NamedTuple

from mindspore import nn

from bundle.manifest import Normalization
from images.transform import Size, Transform
from training.checkpoint import checkpoints, upstream
from training.errors import CheckpointError


class Subject(NamedTuple):
    """A network in evaluation mode, and the images that it expects; labels None: unknown."""

    net: nn.Cell
    num_classes: int
    labels: list[str] | None
    transform: Transform
    normalization: Normalization


def open_subject(path: Path, architecture: str | None) -> Subject:
    """Load a checkpoint; the architecture is for one without a .json, as the upstream writes.

    Raises CheckpointError where it is no sound checkpoint, or the architecture is missing or wrong.
    """
    if path.is_file() and not path.with_suffix(".json").exists():
        return _bare(path, architecture)
    net, info = checkpoints.load_network(path)
    if architecture not in (None, info.architecture):
        raise CheckpointError(
            f"--architecture says {architecture}, but {path} is {info.architecture}; leave it out"
        )
    return Subject(net, info.num_classes, info.labels, info.transform, info.normalization)


def _bare(path: Path, architecture: str | None) -> Subject:
    if architecture is None:
        raise CheckpointError(
            f"{path} has no {path.with_suffix('.json').name} beside it; if it comes from the "
            f"upstream scripts, say what it is: --architecture resnext152_64x4d"
        )
    net, classes = upstream.load_network(path, architecture)
    crop = Size(height=upstream.CROP, width=upstream.CROP)
    transform = Transform(resize=upstream.RESIZE, crop=crop, antialias=False)
    return Subject(net, classes, None, transform, upstream.NORMALIZATION)
