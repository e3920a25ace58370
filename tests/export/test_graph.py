"""The deployment graph against the network with its surroundings worked out in numpy."""

import numpy as np
from mindspore import Tensor

from export.graph import Deployment, predictor
from images.transform import Pixels
from tests.support.checkpoints import NORMALIZATION


def test_equals_network_between_normalisation_and_softmax(
    deployment: Deployment, pixels: Pixels
) -> None:
    normal = (pixels.astype(np.float32) - NORMALIZATION.mean) / NORMALIZATION.std
    channels_first = np.ascontiguousarray(normal.transpose(0, 3, 1, 2), np.float32)
    logits = deployment.network(Tensor(channels_first)).asnumpy().astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    actual = predictor(deployment.graph(), 5)(pixels)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_images_get_answers_of_their_own(deployment: Deployment, pixels: Pixels) -> None:
    answers = predictor(deployment.graph(), 5)(pixels)
    distances = np.abs(answers[:, None] - answers[None]).max(axis=2)
    assert distances[~np.eye(5, dtype=bool)].min() > 0.01


def test_any_number_of_images_runs_in_batches_of_one_size(
    deployment: Deployment, pixels: Pixels
) -> None:
    together = predictor(deployment.graph(), 5)(pixels)
    by_twos = predictor(deployment.graph(), 2)
    for count in (1, 2, 5):
        np.testing.assert_allclose(by_twos(pixels[:count]), together[:count], atol=1e-6)
