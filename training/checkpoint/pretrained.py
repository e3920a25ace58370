"""The network that a run starts with: fresh, or from weights of ours or of the upstream."""

import logging

from mindspore import nn

from training.checkpoint import checkpoints, upstream
from training.checkpoint.weight_files import Arrays
from training.resnext import build
from training.settings.config import TrainConfig

HEAD = ("head.fc.weight", "head.fc.bias")

log = logging.getLogger(__name__)


def network(config: TrainConfig) -> nn.Cell:
    """Return the network of a run, with the weights that `pretrained` names.

    Weights for another number of classes give the backbone, and the head stays fresh. Raises
    CheckpointError listing what else does not fit.
    """
    net = build(config.architecture, config.num_classes)
    # A resumed run brings its own weights along.
    if config.pretrained is not None and config.resume is None:
        checkpoints.restore(net, _fitting(_read(config), net))
    return net


def _read(config: TrainConfig) -> Arrays:
    assert config.pretrained is not None
    if config.pretrained.with_suffix(".json").is_file():
        return checkpoints.load(config.pretrained).parameters
    return upstream.read(config.pretrained)


def _fitting(found: Arrays, net: nn.Cell) -> Arrays:
    """Return the weights; those of a head with other classes are replaced by the network's own."""
    own = {parameter.name: parameter.asnumpy() for parameter in net.get_parameters()}
    known, wanted = (len(arrays.get(HEAD[1], ())) for arrays in (found, own))
    if known in (0, wanted):
        return found
    log.info(f"the weights know {known} classes, this run has {wanted}: backbone kept, head new")
    return found | {name: own[name] for name in HEAD}
