"""Smaller training images in the first epochs."""

import numpy as np
from PIL import Image

from images.decoders import Pixels


def resized(images: Pixels, size: tuple[int, int]) -> Pixels:
    """Return images of `size`, height and width: uint8 (N, H, W, 3) -> uint8 (N, h, w, 3).

    By Pillow, bilinear with antialias, as random resized crops are.
    """
    if images.shape[1:3] == size:
        return images
    height, width = size
    return np.stack(
        [
            np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
            for image in images
        ]
    )
