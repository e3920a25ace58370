"""The members of the ResNeXt family, as numbers; apart from the network, which needs MindSpore."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# How the stem's max-pool, 3 x 3 with stride 2, pads an axis with an even number of pixels. same:
# by one at the end, as MindSpore's and TensorFlow's "same"; symmetric: by one at either end, as
# PyTorch with padding=1. A network answers wrongly with the one that it was not trained with.
Pooling = Literal["same", "symmetric"]


@dataclass(frozen=True)
class Stem:
    """The first convolution: channels out, kernel and stride in pixels, max-pool after it."""

    channels: int = 64
    kernel: int = 7
    stride: int = 2
    pool: bool = True


@dataclass(frozen=True)
class Architecture:
    """One member of the family. Layer i is `2**i` times as wide, at half the resolution each.

    `base_width` is channels per group, `outputs` the channels that the first layer leaves.
    """

    blocks: tuple[int, ...]
    cardinality: int
    base_width: int
    outputs: int = 256
    stem: Stem = Stem()


# Small images keep more of their pixels, since nothing pools the stem's; ALL_PIXELS keeps each.
SMALL = Stem(channels=32, kernel=5, pool=False)
TINY = Stem(channels=16, kernel=3, pool=False)
ALL_PIXELS = Stem(channels=16, kernel=3, stride=1, pool=False)

ARCHITECTURES = {
    "resnext50_32x4d": Architecture((3, 4, 6, 3), cardinality=32, base_width=4),
    "resnext101_32x4d": Architecture((3, 4, 23, 3), cardinality=32, base_width=4),
    "resnext101_32x8d": Architecture((3, 4, 23, 3), cardinality=32, base_width=8),
    "resnext101_64x4d": Architecture((3, 4, 23, 3), cardinality=64, base_width=4),
    "resnext152_64x4d": Architecture((3, 8, 36, 3), cardinality=64, base_width=4),
    "resnext14_8x4d": Architecture((1, 2, 1), cardinality=8, base_width=4, outputs=64, stem=SMALL),
    "resnext29_2x8d": Architecture(
        (1, 3, 3, 2), cardinality=2, base_width=8, outputs=32, stem=ALL_PIXELS
    ),
    "tiny": Architecture((1, 1), cardinality=2, base_width=4, outputs=16, stem=TINY),
}

STEM, FIRST = "backbone.conv.weight", "backbone.layer1.0"
BLOCK = re.compile(r"backbone\.layer(\d+)\.\d+\.conv2\.weight")


def recognise(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Return the member whose weights have these names and shapes; None if there is none.

    Names are ours. Only those that tell members apart are looked at.
    """
    counted = Counter(int(block[1]) for name in shapes if (block := BLOCK.fullmatch(name)))
    blocks = tuple(counted[layer] for layer in sorted(counted))
    for name, architecture in ARCHITECTURES.items():
        telling = _telling(architecture)
        if blocks == architecture.blocks and telling.items() <= shapes.items():
            return name
    return None


def _telling(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights by which members of the same depth differ."""
    stem, width = architecture.stem, architecture.cardinality * architecture.base_width
    return {
        STEM: (stem.channels, 3, stem.kernel, stem.kernel),
        f"{FIRST}.conv2.weight": (width, architecture.base_width, 3, 3),
        f"{FIRST}.conv3.weight": (architecture.outputs, width, 1, 1),
    }
