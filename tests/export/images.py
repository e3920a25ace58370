"""Images for tests: smooth, bright and dark, coloured, so that networks tell them apart."""

import numpy as np

from images.transform import Pixels


def varied(count: int, side: int) -> Pixels:
    """Return uint8 (count, side, side, 3), each image with waves of its own."""
    chance = np.random.default_rng(3)
    y, x = np.mgrid[0:side, 0:side] / side
    images = []
    for _ in range(count):
        frequency, phase, level = (
            chance.uniform(1, 20, 3),
            chance.uniform(0, 6, 3),
            chance.uniform(40, 215, 3),
        )
        waves = np.sin(x[..., None] * frequency + phase) * np.cos(y[..., None] * frequency[::-1])
        images.append((level + 60 * waves).clip(0, 255))
    return np.stack(images).astype(np.uint8)
