"""Weights of the classes in the loss."""

import logging

import numpy as np
from numpy.typing import NDArray

from training.data.folders import listed
from training.errors import DatasetError
from training.settings.train_config import TrainConfig

Weights = NDArray[np.float32]

logger = logging.getLogger(__name__)


def class_weights(
    config: TrainConfig, labels: NDArray[np.int32], names: list[str]
) -> Weights | None:
    """Return the factor of each class in the loss, float32 (K,); None if all are equal.

    Takes the class of each training image, int32 (N,), and the names of the K classes. Raises
    DatasetError if the settings have another number of weights.
    """
    if config.class_weights is None:
        return None
    if config.class_weights == "balanced":
        weights = balanced(np.bincount(labels, minlength=len(names)))
    else:
        weights = np.array(config.class_weights, np.float32)
    if len(weights) != len(names):
        raise DatasetError(
            f"class_weights has {len(weights)} numbers, but there are {len(names)} classes: "
            f"{listed(names)}"
        )
    pairs = zip(names, weights, strict=True)
    logger.info("class weights: %s", listed([f"{name} {weight:.4g}" for name, weight in pairs]))
    return weights


def balanced(counts: NDArray[np.intp]) -> Weights:
    """Return images / (classes * images of the class): images of each class (K,) -> float32 (K,).

    As scikit-learn's `compute_class_weight` (King & Zeng 2001, Logistic Regression in Rare Events
    Data): all classes weigh the same, an image 1 on average. A class without images gets 0, and is
    not counted.
    """
    evenly = counts.sum() / np.count_nonzero(counts)
    return np.where(counts, evenly / np.maximum(counts, 1), 0).astype(np.float32)
