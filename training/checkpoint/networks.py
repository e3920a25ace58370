"""The network that a run starts with, and the one that is evaluated: ours or that of others.

A checkpoint of ours has a .json beside it, which describes it; one of others is bare weights.
"""

import logging
from pathlib import Path
from typing import NamedTuple

from mindspore import nn

from bundle.manifest import Normalization
from bundle.preparation import Preparation, read_preparation
from images.transform import Transform
from training.architectures import Pooling
from training.checkpoint import bare, checkpoints
from training.checkpoint.checkpoints import Arrays
from training.errors import CheckpointError
from training.resnext import build, initialise_per_group
from training.settings.files import find_run, newest_checkpoint
from training.settings.train_config import TrainConfig

HEAD = ("head.fc.weight", "head.fc.bias")

logger = logging.getLogger(__name__)


def initial_network(config: TrainConfig) -> nn.Cell:
    """Return the network that a run starts with, with the weights that `pretrained` names.

    Weights for another number of classes give the backbone, and the head stays freshly initialised.
    Raises CheckpointError listing what else does not fit.
    """
    weights, pooling = _start(config)
    net = build(config.architecture, config.classes, pooling, eval_mirror=config.eval_mirror)
    if config.init_per_group:
        initialise_per_group(net)
    if weights is not None:
        checkpoints.restore(net, _fitting(weights, net))
    return net


def _start(config: TrainConfig) -> tuple[Arrays | None, Pooling]:
    """Return the weights to start with, if there are any, and the pooling that goes with them."""
    if config.resume is not None:  # it brings its own weights along
        return None, checkpoints.read_info(newest_checkpoint(find_run(config.resume))).pooling
    if config.pretrained is None:
        return None, "same"
    if config.pretrained.with_suffix(".json").is_file():
        checkpoint = checkpoints.load(config.pretrained)
        return checkpoint.parameters, checkpoint.info.pooling
    weights, origin = bare.read(config.pretrained)
    return weights, origin.pooling


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


def open_trained(
    path: Path, architecture: str | None, transform: str | None = None
) -> TrainedNetwork:
    """Load a checkpoint: ours, or one without a .json, of the upstream or of others.

    Args:
        path: the file.
        architecture: what it is; None: what the .json or the weights say.
        transform: how images are prepared for one without a .json: `imagenet`, or a JSON file with
            the fields transform and normalization; None: as those evaluate whose weights they are.

    Raises CheckpointError if it is damaged, of another architecture or none that is known, or if
    no transform is there.
    """
    if path.is_file() and not path.with_suffix(".json").exists():
        return _open_bare(path, architecture, transform)
    net, info = checkpoints.load_network(path)
    if architecture not in (None, info.architecture):
        raise CheckpointError(
            f"--architecture says {architecture}, but {path} is {info.architecture}; leave it out"
        )
    if transform is not None:
        raise CheckpointError(
            f"--transform is for checkpoints without a .json, but that of {path} states one; "
            f"leave it out"
        )
    if info.eval_mirror:
        logger.info("%s answers with the mean of each image and its mirror image", path)
    return TrainedNetwork(
        net, info.architecture, info.num_classes, info.labels, info.transform, info.normalization
    )


def _open_bare(path: Path, architecture: str | None, transform: str | None) -> TrainedNetwork:
    net, architecture, classes, origin = bare.load_network(path, architecture)
    stated = origin.preparation if transform is None else _stated(transform)
    return TrainedNetwork(net, architecture, classes, None, stated.transform, stated.normalization)


def _stated(transform: str) -> Preparation:
    try:
        return read_preparation(transform)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
