"""mixup and cutmix: each image of a batch is mixed with its neighbour, and so are their labels.

As timm's `mixup.py` in its mode `elem`: an image's share and box are its own. Neighbours are the
images 2i and 2i + 1 of an epoch's order; timm's are the i-th from both ends of a batch, which
would depend on the number of processes.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.settings.augmentation import AugmentationConfig

Floats = NDArray[np.float32]
Box = tuple[slice, slice]


class Mixture(NamedTuple):
    """The share that an image keeps, and the box (rows, columns) that it loses; None: mixup."""

    share: float
    box: Box | None = None


def draw(config: AugmentationConfig, size: tuple[int, int], rng: np.random.Generator) -> Mixture:
    """Return how an image of a size (height, width) in pixels is mixed.

    The share is from Beta(alpha, alpha), in mixup (Zhang et al. 2018, arXiv:1710.09412, section 2)
    and in cutmix (Yun et al. 2019, arXiv:1905.04899, section 3.1); of the latter it is then that
    of the pixels that are left, as its box may reach beyond the image.
    """
    if rng.random() >= config.mixup_prob:
        return Mixture(1.0)
    switch = config.mixup_switch_prob if config.mixup else 1.0
    if config.cutmix and rng.random() < switch:
        return _cut(rng.beta(config.cutmix, config.cutmix), size, rng)
    return Mixture(rng.beta(config.mixup, config.mixup))


def _cut(share: float, size: tuple[int, int], rng: np.random.Generator) -> Mixture:
    rows, columns = (_span(side, np.sqrt(1 - share), rng) for side in size)
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    return Mixture(1 - area / (size[0] * size[1]), (rows, columns))


def _span(side: int, part: float, rng: np.random.Generator) -> slice:
    """Return a part of a side around a centre that may be anywhere, within the side."""
    half, centre = int(side * part) // 2, int(rng.integers(side))
    return slice(max(centre - half, 0), min(centre + half, side))


def mix(
    images: Floats, labels: NDArray[np.int32], classes: int, mixtures: Iterable[Mixture]
) -> tuple[Floats, Floats]:
    """Return float32 (N, C, H, W), and the share of each class in each image, float32 (N, K).

    Takes images of the same shape and dtype, int32 (N,), and N mixtures; N is even.
    """
    mixed, shares = np.empty_like(images), np.empty((len(images), 1), np.float32)
    for i, (share, box) in enumerate(mixtures):
        shares[i] = share
        if box is None:
            np.multiply(images[i], share, out=mixed[i])
            mixed[i] += (1 - share) * images[i ^ 1]
        else:
            mixed[i] = images[i]
            mixed[i][:, *box] = images[i ^ 1][:, *box]
    own = np.eye(classes, dtype=np.float32)[labels]
    neighbours = own[np.arange(len(own)) ^ 1]
    return mixed, shares * own + (1 - shares) * neighbours
