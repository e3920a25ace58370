"""Checkpoints of the upstream scripts: bare weights, in either of two layouts.

From training on a GPU, a grouped convolution is one tensor, as here; from Ascend or a CPU, it is
one convolution per group, `....conv2.convs.{0..63}.weight`. Names may begin with `network.`, and
the file may also hold entries of the optimiser.
"""

import re
from collections import defaultdict
from pathlib import Path

import numpy as np
from mindspore import nn

from bundle.manifest import IMAGENET
from images.transform import Stretch
from training.checkpoint.checkpoints import Arrays, read_arrays, restore
from training.errors import CheckpointError
from training.resnext import build

# As the upstream evaluates: Resize((256, 256)) in MindSpore, then a centre crop.
RESIZE = Stretch(height=256, width=256)
CROP = 224
NORMALIZATION = IMAGENET

PREFIX = "network."
SPLIT = re.compile(r"(?P<convolution>.+)\.convs\.(?P<group>\d+)\.weight")
OPTIMISER = re.compile(
    r"moments\..+|learning_rate|momentum|global_step|scale_sense"
    r"|(current|last_overflow)_iterator_step|epoch_num|step_num"
)


def load_network(path: Path, architecture: str) -> tuple[nn.Cell, int]:
    """Return the network in evaluation mode, and its number of classes.

    Raises:
        CheckpointError: there is no such file, or weights are missing or left over.
        ArchitectureError: the family has no such member.
    """
    parameters = read(path)
    if "head.fc.bias" not in parameters:
        raise CheckpointError(
            f"{path} holds no head.fc.bias, so it is not a ResNeXt of the upstream"
        )
    classes = len(parameters["head.fc.bias"])
    network = build(architecture, classes)
    restore(network, parameters)
    return network.set_train(False), classes


def read(path: Path) -> Arrays:
    """Return a file's weights under our names; raise CheckpointError as `one_layout` does."""
    return one_layout(read_arrays(path))


def one_layout(found: Arrays) -> Arrays:
    """Return the weights under our names, with the parts of a grouped convolution joined.

    Raises:
        CheckpointError: a part of a grouped convolution is missing, or a weight appears twice.
    """
    parameters: Arrays = {}
    groups: defaultdict[str, Arrays] = defaultdict(dict)
    for name, value in _plain(found).items():
        if part := SPLIT.fullmatch(name):
            groups[f"{part['convolution']}.weight"][part["group"]] = value
        else:
            parameters[name] = value
    for name in groups.keys() & parameters.keys():
        raise _twice(name, name.removesuffix("weight") + "convs.*.weight")
    return parameters | {name: _joined(name, parts) for name, parts in groups.items()}


def _plain(found: Arrays) -> Arrays:
    """Return the weights without the prefix, and without the optimiser's entries."""
    parameters: Arrays = {}
    for name, value in found.items():
        plain = name.removeprefix(PREFIX)
        if plain in parameters:
            raise _twice(PREFIX + plain, plain)
        if not OPTIMISER.fullmatch(plain):
            parameters[plain] = value
    return parameters


def _twice(one: str, other: str) -> CheckpointError:
    return CheckpointError(f"{one} and {other} are the same weight; a checkpoint may hold only one")


def _joined(name: str, parts: Arrays) -> np.ndarray:
    missing = {str(group) for group in range(len(parts))} - parts.keys()
    if missing:
        raise CheckpointError(f"{name}: parts missing: {', '.join(sorted(missing, key=int))}")
    return np.concatenate([parts[str(group)] for group in range(len(parts))])
