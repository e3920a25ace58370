"""Untrained checkpoints whose every weight has a say in the answer."""

from pathlib import Path

import training  # noqa: F401  # isort: skip  # sets what mindspore must find in the environment
import mindspore
import numpy as np
from mindspore import Tensor, nn

from bundle.manifest import Normalization
from images.transform import Size, Stretch, Transform
from training.architectures import Architecture, Pooling, Stem
from training.checkpoint.checkpoints import CheckpointInfo, save
from training.distributed import use_device
from training.resnext import build

use_device("CPU")  # before the first kernel runs; MindSpore refuses it afterwards

NORMALIZATION = Normalization(mean=(123.0, 116.0, 103.0), std=(58.0, 57.0, 56.0))
DIGITS = [str(digit) for digit in range(10)]
# As small as `tiny`, but with the stem of the large ones; tests add it to ARCHITECTURES.
POOLED = Architecture((1, 1), cardinality=2, base_width=4, outputs=16, stem=Stem(channels=16))


def stirred(
    architecture: str, classes: int, pooling: Pooling = "same", *, eval_mirror: bool = False
) -> nn.Cell:
    """Return a network with the batch norm of a trained one; fresh ones leave branches at zero."""
    mindspore.set_seed(1)
    network = build(architecture, classes, pooling, eval_mirror=eval_mirror)
    chance = np.random.default_rng(1)
    for parameter in network.get_parameters():
        kind = parameter.name.rpartition(".")[2]
        if kind in ("gamma", "moving_variance"):
            low, high = (0.1, 0.4) if ".bn3." in parameter.name else (0.6, 1.4)
            values = chance.uniform(low, high, parameter.shape)
        elif kind in ("beta", "moving_mean"):
            values = chance.normal(0.0, 0.2, parameter.shape)
        else:
            continue
        parameter.set_data(Tensor(values.astype(np.float32)))
    weight = network.head.fc.weight
    weight.set_data(Tensor(weight.asnumpy() * 8))
    return network.set_train(False)


def write_checkpoint(
    path: Path,
    architecture: str = "tiny",
    labels: list[str] = DIGITS,
    side: int = 28,
    pooling: Pooling = "same",
) -> Path:
    """Write an untrained checkpoint for images of side x side pixels and return its path."""
    size = Size(height=side, width=side)
    resize = Stretch(height=side + side // 7, width=side + side // 7)
    info = CheckpointInfo(
        architecture=architecture,
        pooling=pooling,
        num_classes=len(labels),
        labels=labels,
        transform=Transform(resize=resize, crop=size),
        normalization=NORMALIZATION,
        config={},
        epoch=0,
        step=0,
        versions={},
    )
    save(stirred(architecture, len(labels), pooling), info, path)
    return path
