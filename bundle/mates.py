"""An image's answer must not depend on its batch: on the images beside it, or on its place.

It does in a network that was exported in training mode: batch normalisation then takes the mean and
the variance of whatever happens to run together.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bundle.golden import GoldenSet, Predict
from bundle.manifest import ModelFile
from bundle.store import Bundle, BundleError
from images.transform import Pixels


class Departure(NamedTuple):
    """An image that is answered otherwise than before, in a batch of `batch` images."""

    image: int
    batch: int
    difference: float

    def reason(self, image: str, allowed: float) -> str:
        """Say what is wrong with the model, and what to do; `image` is the name of the image."""
        return (
            f"the model mixes the images of a batch: the probabilities of {image} change by "
            f"{self.difference:.3g} when it runs in another batch, of {self.batch} "
            f"({allowed:.3g} is allowed); export it in evaluation mode, so that it takes no "
            f"statistics of the batch"
        )


def find_departure(
    predict: Predict,
    batches: Sequence[int],
    pixels: Pixels,
    expected: NDArray[np.float32],
    allowed: float,
) -> Departure | None:
    """Run one batch of each size, every place filled; return the first answer that departs.

    Args:
        predict: uint8 (n, height, width, 3) -> float32 (n, classes), as one batch for these n.
        batches: sizes of batches.
        pixels: the images, uint8 (n, height, width, 3).
        expected: their answers in other batches, float32 (n, classes).
        allowed: largest difference of a probability.
    """
    for turn, batch in enumerate(batches):
        order = _arrangement(len(pixels), batch, turn)
        actual, wanted = predict(pixels[order]), expected[order]
        if actual.shape != wanted.shape:
            return Departure(int(order[0]), batch, float("inf"))
        differences = np.abs(actual - wanted).max(axis=1)
        worst = int(differences.argmax())  # the first NaN, if there is one
        if not differences[worst] <= allowed:
            return Departure(int(order[worst]), batch, float(differences[worst]))
    return None


def prove_mates(
    bundle: Bundle,
    file: ModelFile,
    golden: GoldenSet,
    pixels: Pixels,
    predict: Predict,
    runtime: str,
    buckets: Sequence[int],
) -> None:
    """Prove that the golden images are answered alike in full batches of each bucket.

    The arguments are those of `prove_probabilities`, which comes first: only the batch is new here.

    Raises:
        BundleError: an image's answer depends on its batch.
    """
    own = golden.answers(file, runtime)
    expected = np.array(own.probabilities, np.float32) if own else golden.probabilities()
    allowed = own.tolerance if own else file.tolerance
    if departure := find_departure(predict, buckets, pixels, expected, allowed):
        image = f"golden image {golden.images[departure.image].path}"
        raise BundleError(f"{bundle.path / file.title}: {departure.reason(image, allowed)}")


def _arrangement(images: int, batch: int, turn: int) -> NDArray[np.intp]:
    """Return the number of the image in each place of a batch; another one for each turn.

    No image is where it was, and every second place holds the same one: so the statistics of the
    batch are far from those of all images, even if each of them has several places.
    """
    places = np.arange(batch)
    return np.where(places % 2, -1 - turn, places // 2 + 1 + turn) % images
