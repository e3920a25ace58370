"""Names of weights in checkpoints of the upstream scripts, which have either of two layouts.

From training on a GPU, a grouped convolution is one tensor, as here; from Ascend or a CPU, it is
one convolution per group, `....conv2.convs.{0..63}.weight`. Names may begin with `network.`, and
the file may also hold entries of the optimiser.
"""

import re
from collections import defaultdict

import numpy as np

from training.checkpoint.checkpoints import Arrays
from training.errors import CheckpointError

PREFIX = "network."
SPLIT = re.compile(r"(?P<convolution>.+)\.convs\.(?P<group>\d+)\.weight")
OPTIMISER = re.compile(
    r"moments\..+|learning_rate|momentum|global_step|scale_sense"
    r"|(current|last_overflow)_iterator_step|epoch_num|step_num"
)


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
