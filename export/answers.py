"""What a model must answer before a bundle is made of it: probabilities, whatever the batch."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from bundle.golden import LARGEST_PROBABILITY, Predict
from bundle.mates import find_departure
from export.errors import ExportError, ParityError
from images.transform import Pixels


def require_probabilities(answers: NDArray[np.floating], name: Callable[[int], str]) -> None:
    """Raise `ExportError` if an answer is no probability: not finite, or not between 0 and 1.

    Args:
        answers: of the original, float (n, classes).
        name: what to call the image of a row.
    """
    # Not ~(answers < 0): NaN compares false, whatever the question.
    sound = (answers >= 0) & (answers <= LARGEST_PROBABILITY)
    if not sound.all():
        row, column = np.argwhere(~sound)[0]
        raise ExportError(
            f"{name(row)}: the model gives class {column} a probability of "
            f"{answers[row, column]:.3g}, which is none; a bundle is made only of a model that "
            f"answers every image with numbers from 0 to 1"
        )


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
