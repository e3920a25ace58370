"""What a model must answer before a bundle is made of it: probabilities, whatever the batch."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bundle.golden import Predict
from bundle.mates import find_departure
from export.errors import ParityError
from images.transform import Pixels


def require_independence(
    path: str,
    predict: Predict,
    batches: Sequence[int],
    pixels: Pixels,
    expected: NDArray[np.float32],
    allowed: float,
) -> None:
    """Raise `ParityError` if the answer to a golden image depends on its batch.

    Args:
        path: what to call the model.
        predict: uint8 (n, height, width, 3) -> float32 (n, classes).
        batches: sizes of the batches to run.
        pixels: the golden images, uint8 (n, height, width, 3).
        expected: their answers in other batches, float32 (n, classes).
        allowed: largest difference of a probability.
    """
    if departure := find_departure(predict, batches, pixels, expected, allowed):
        image = f"golden image {departure.image}"
        raise ParityError(f"{path}: {departure.reason(image, allowed)}")
