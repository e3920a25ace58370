"""A server proves a bundle before it says that it is ready."""

import logging
from collections.abc import Sequence
from functools import partial

from bundle.golden import prove_pixels, prove_probabilities
from bundle.manifest import ModelFile
from bundle.store import Bundle
from serving.backends.backend import Backend, predict

logger = logging.getLogger(__name__)


def prove(
    bundle: Bundle, file: ModelFile, backends: Sequence[Backend], buckets: Sequence[int]
) -> None:
    """Compare pixels and probabilities of the golden images with the recorded ones.

    Raises:
        BundleError: they differ by more than the bundle allows.
    """
    golden, pixels = prove_pixels(bundle)
    for backend in backends:
        difference = prove_probabilities(
            bundle, file, golden, pixels, partial(predict, backend, buckets)
        )
    logger.info(
        "%s: %d golden images: pixels equal, probabilities within %.2g (allowed %.2g)",
        bundle.path,
        len(golden.images),
        difference,
        file.tolerance,
    )
