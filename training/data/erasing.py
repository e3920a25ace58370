"""Random erasing (Zhong et al. 2017, arXiv:1708.04896, algorithm 1)."""

import numpy as np
from numpy.typing import NDArray

# Of timm's training, as its mode `pixel`; the paper erases up to 0.4 of an image.
AREA = (0.02, 1 / 3)
ASPECT = (0.3, 1 / 0.3)
ATTEMPTS = 10


def erase(image: NDArray[np.float32], probability: float, rng: np.random.Generator) -> None:
    """Fill a rectangle with normal noise, in place; normalised (C, H, W).

    Its area is a share of the image from AREA, its height by its width from ASPECT, evenly on a
    logarithmic scale; it is smaller than the image in both, or the image is left as it is.
    """
    if rng.random() >= probability:
        return
    channels, height, width = image.shape
    for _ in range(ATTEMPTS):
        area = height * width * rng.uniform(*AREA)
        aspect = np.exp(rng.uniform(*np.log(ASPECT)))
        h, w = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if h < height and w < width:
            top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            noise = rng.standard_normal((channels, h, w), np.float32)
            image[:, top : top + h, left : left + w] = noise
            return
