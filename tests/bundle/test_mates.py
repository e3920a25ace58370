"""An image is answered alike in every batch, or the model is refused."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bundle.golden import FileAnswers, Predict, prove_pixels
from bundle.mates import find_departure, prove_mates
from bundle.store import Bundle, BundleError
from images.transform import Pixels
from tests.support.bundles import BUCKETS, probabilities

PIXELS = np.random.default_rng(5).integers(0, 256, (10, 8, 8, 3), np.uint8)
EXPECTED = probabilities(PIXELS)
RUNTIME = "onnxruntime"


def batch_statistics(pixels: Pixels) -> NDArray[np.float32]:
    return probabilities(pixels) - probabilities(pixels).mean(axis=0)


def shifted(pixels: Pixels) -> NDArray[np.float32]:
    return (probabilities(pixels) + np.float32(0.05)).clip(0, 1)


def neighbours(pixels: Pixels) -> NDArray[np.float32]:
    return probabilities(pixels) + 0.1 * np.roll(probabilities(pixels), 1, axis=0)


def places(pixels: Pixels) -> NDArray[np.float32]:
    return probabilities(pixels) + 0.001 * np.arange(len(pixels), dtype=np.float32)[:, None]


def one_for_all(pixels: Pixels) -> NDArray[np.float32]:
    return np.repeat(probabilities(pixels[:1]), len(pixels), axis=0)


def no_numbers_in_a_crowd(pixels: Pixels) -> NDArray[np.float32]:
    return probabilities(pixels) * np.float32(np.nan if len(pixels) == 4 else 1)


def a_row_too_few(pixels: Pixels) -> NDArray[np.float32]:
    return probabilities(pixels)[: 3 if len(pixels) == 4 else None]


def test_every_batch_size_runs_once_and_full() -> None:
    batches: list[int] = []

    def predict(pixels: Pixels) -> NDArray[np.float32]:
        batches.append(len(pixels))
        return probabilities(pixels)

    assert find_departure(predict, [1, 2, 4, 32], PIXELS, EXPECTED, 1e-6) is None
    assert batches == [1, 2, 4, 32]


@pytest.mark.parametrize("images", [1, 3, 10])
@pytest.mark.parametrize("batch", [1, 2, 3, 32])
def test_any_number_of_golden_images_will_do(images: int, batch: int) -> None:
    pixels, expected = PIXELS[:images], EXPECTED[:images]
    assert find_departure(probabilities, [batch], pixels, expected, 1e-6) is None


@pytest.mark.parametrize(
    "model",
    [batch_statistics, neighbours, places, one_for_all, no_numbers_in_a_crowd, a_row_too_few],
)
@pytest.mark.parametrize("batches", [[4], [1, 2, 4, 8]])
def test_a_model_that_mixes_is_found(model: Predict, batches: list[int]) -> None:
    expected = model(PIXELS)
    departure = find_departure(model, batches, PIXELS, expected, 1e-5)
    assert departure is not None
    assert not departure.difference <= 1e-5


def test_statistics_of_many_batch_mates_are_found_too() -> None:
    """Where each image is several times in the batch, so that its mean could be that of all."""
    expected = batch_statistics(PIXELS)
    departure = find_departure(batch_statistics, [40], PIXELS, expected, 1e-2)
    assert departure is not None
    assert departure.difference > 0.02


def test_the_refusal_says_what_to_do(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    golden, pixels = prove_pixels(opened)
    file = opened.file("onnx", "fp32")
    proved = opened, file, golden, pixels
    prove_mates(*proved, probabilities, RUNTIME, BUCKETS)
    with pytest.raises(
        BundleError,
        match=r"model\.onnx: the model mixes the images of a batch: .* of golden image "
        r"golden/\w+\.png change by .* in another batch, of 1 \(1e-05 is allowed\); export it in "
        r"evaluation mode",
    ):
        prove_mates(*proved, neighbours, RUNTIME, BUCKETS)


def test_a_file_with_answers_of_its_own_is_compared_with_them(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    golden, pixels = prove_pixels(opened)
    own = FileAnswers(
        format="onnx",
        precision="int8",
        runtime=RUNTIME,
        tolerance=0.02,
        probabilities=shifted(pixels).tolist(),
    )
    recorded = golden.model_copy(update={"files": [own]})
    file = opened.manifest.files[0].model_copy(update={"precision": "int8", "tolerance": 0.5})
    proved = opened, file, recorded, pixels
    prove_mates(*proved, shifted, RUNTIME, BUCKETS)
    with pytest.raises(BundleError, match=r"0\.02 is allowed"):
        prove_mates(*proved, probabilities, RUNTIME, BUCKETS)
