"""The members of the ResNeXt family, as numbers; apart from the network, which needs MindSpore."""

from dataclasses import dataclass


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


# Small images keep more of their pixels: no max-pool.
SMALL = Stem(channels=32, kernel=5, pool=False)
TINY = Stem(channels=16, kernel=3, pool=False)

ARCHITECTURES = {
    "resnext152_64x4d": Architecture((3, 8, 36, 3), cardinality=64, base_width=4),
    "resnext14_8x4d": Architecture((1, 2, 1), cardinality=8, base_width=4, outputs=64, stem=SMALL),
    "tiny": Architecture((1, 1), cardinality=2, base_width=4, outputs=16, stem=TINY),
}
