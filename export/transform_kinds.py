"""The kinds of a transform that an export may ask for, and what reduced decoding costs."""

import logging

import numpy as np
from pydantic import Field, NonNegativeFloat, NonNegativeInt, ValidationError

from bundle.manifest import Frozen
from bundle.store import first_mistake
from export.answers import require_probabilities
from export.config import BundleConfig
from export.errors import ExportError
from export.evaluation_set import (
    EvaluationSet,
    ImageSet,
    Probabilities,
    Scores,
    open_images,
    progress,
)
from export.original import IMAGES_AT_ONCE, Original
from images.transform import Transform

logger = logging.getLogger(__name__)


class ReducedDecoding(Frozen):
    """What the original answers with reduced decoding, against full decoding of the same images.

    Where no image was reduced the two are the same, and nothing is known of what it costs.
    """

    images_reduced: NonNegativeInt = Field(
        description="images that were decoded at a smaller scale; the others are no plain JPEG, or "
        "too small"
    )
    top1_agreement: NonNegativeInt = Field(description="images with the same first class")
    largest_difference: NonNegativeFloat = Field(description="of a probability, over all of them")
    full: Scores | None = Field(
        description="of full decoding; null if the true classes are unknown"
    )

    def told(self, scores: Scores | None, images: int) -> str:
        """Return in one sentence what it costs, given the scores of reduced decoding."""
        if not self.images_reduced:
            return (
                f"reduced decoding was not measured: none of the {images} images is a JPEG large "
                f"enough to be reduced"
            )
        cost = (
            f"top-1 {self.full.top1_correct} with full decoding, {scores.top1_correct} reduced; "
            if self.full and scores
            else ""
        )
        return (
            f"reduced decoding, of {self.images_reduced} of the {images} images: {cost}"
            f"{self.top1_agreement} with the same first class, probabilities differ by at most "
            f"{self.largest_difference:.2g}"
        )


def with_kinds(transform: Transform, config: BundleConfig) -> Transform:
    """Return the transform with what the flags ask for; raise `ExportError` if it cannot be."""
    flags = {"resampler": config.resampler, "decoding": config.decoding}
    asked = {name: value for name, value in flags.items() if value is not None}
    try:
        return Transform.model_validate(dict(transform) | asked)
    except ValidationError as error:
        raise ExportError(f"--resampler, --decoding: {first_mistake(error)}") from error


def measure(
    original: Original, config: BundleConfig, images: ImageSet, answers: Probabilities
) -> ReducedDecoding | None:
    """Return what reduced decoding costs; None for a transform, or images, without it.

    Args:
        original: the model.
        config: names the evaluation data.
        images: the evaluation set, as the transform decodes it.
        answers: the original's to them, float32 (n, classes).
    """
    if original.transform.decoding == "full" or not isinstance(images, EvaluationSet):
        return None
    assert config.images is not None
    dataset, transform = images.dataset, original.transform
    reduced = sum(transform.reduces(dataset.encoded(index)) for index in range(len(dataset)))
    expected = _fully_decoded(original, config, len(images)) if reduced else answers
    labels = images.labels
    cost = ReducedDecoding(
        images_reduced=reduced,
        top1_agreement=int((answers.argmax(axis=1) == expected.argmax(axis=1)).sum()),
        largest_difference=float(np.abs(answers - expected).max()),
        full=None if labels is None else Scores.of(expected, labels),
    )
    scores = None if labels is None else Scores.of(answers, labels)
    logger.info("%s", cost.told(scores, len(images)))
    return cost


def _fully_decoded(original: Original, config: BundleConfig, count: int) -> Probabilities:
    """Return the original's answers to the evaluation data without reduced decoding."""
    full = original.transform.model_copy(update={"decoding": "full"})
    assert config.images is not None
    images = open_images(config.images, original.labels, full, original.task)
    batches = progress(images.batches(IMAGES_AT_ONCE), count, "full decoding")
    answers = np.concatenate([original.predict(pixels) for pixels in batches])
    require_probabilities(answers, images.title)
    return answers
