"""The network that a run starts with, and the one that is evaluated: ours or the upstream's.

A checkpoint of ours has a .json beside it, which describes it; one of the upstream scripts has not.
"""

import logging
from pathlib import Path
from typing import NamedTuple

from mindspore import nn

from bundle.manifest import Normalization
from images.transform import Size, Transform
from training.checkpoint import checkpoints, upstream
from training.checkpoint.checkpoints import Arrays
from training.errors import CheckpointError
from training.resnext import build
from training.settings.train_config import TrainConfig

HEAD = ("head.fc.weight", "head.fc.bias")

logger = logging.getLogger(__name__)


def initial_network(config: TrainConfig) -> nn.Cell:
    """Return the network that a run starts with, with the weights that `pretrained` names.

    Weights for another number of classes give the backbone, and the head stays freshly initialised.
    Raises CheckpointError listing what else does not fit.
    """
    net = build(config.architecture, config.num_classes)
    # A resumed run brings its own weights along.
    if config.pretrained is not None and config.resume is None:
        checkpoints.restore(net, _fitting(_weights(config.pretrained), net))
    return net


def _weights(path: Path) -> Arrays:
    if path.with_suffix(".json").is_file():
        return checkpoints.load(path).parameters
    return upstream.read(path)


def _fitting(found: Arrays, net: nn.Cell) -> Arrays:
    """Return the weights; those of a head for other classes are replaced by the network's own."""
    own = {parameter.name: parameter.asnumpy() for parameter in net.get_parameters()}
    known, wanted = (len(arrays.get(HEAD[1], ())) for arrays in (found, own))
    if known in (0, wanted):
        return found
    logger.info(
        "the weights know %d classes, this run has %d: backbone kept, head new", known, wanted
    )
    return found | {name: own[name] for name in HEAD}


class TrainedNetwork(NamedTuple):
    """A network in evaluation mode, and the images that it expects; labels are None if unknown."""

    net: nn.Cell
    architecture: str
    num_classes: int
    labels: list[str] | None
    transform: Transform
    normalization: Normalization


def open_trained(path: Path, architecture: str | None) -> TrainedNetwork:
    """Load a checkpoint; one without a .json, as the upstream writes it, needs the architecture.

    Raises CheckpointError if it is damaged, or the architecture is missing or wrong.
    """
    if path.is_file() and not path.with_suffix(".json").exists():
        return _open_upstream(path, architecture)
    net, info = checkpoints.load_network(path)
    if architecture not in (None, info.architecture):
        raise CheckpointError(
            f"--architecture says {architecture}, but {path} is {info.architecture}; leave it out"
        )
    return TrainedNetwork(
        net, info.architecture, info.num_classes, info.labels, info.transform, info.normalization
    )


def _open_upstream(path: Path, architecture: str | None) -> TrainedNetwork:
    if architecture is None:
        raise CheckpointError(
            f"{path} has no {path.with_suffix('.json').name} beside it; if it comes from the "
            f"upstream scripts, say what it is: --architecture resnext152_64x4d"
        )
    net, classes = upstream.load_network(path, architecture)
    crop = Size(height=upstream.CROP, width=upstream.CROP)
    transform = Transform(resize=upstream.RESIZE, crop=crop, antialias=False)
    return TrainedNetwork(net, architecture, classes, None, transform, upstream.NORMALIZATION)
