"""Backends prove themselves with the golden images of their bundle before they answer anybody."""

import logging
from collections.abc import Sequence
from functools import cached_property, partial

from bundle.golden import GoldenSet, prove_pixels, prove_probabilities
from bundle.manifest import ModelFile
from bundle.mates import prove_mates
from bundle.store import Bundle, BundleError
from images.transform import Pixels
from serving.backends.backend import Backend, predict
from serving.threads import at_once

logger = logging.getLogger(__name__)


class Prover:
    """Compares what backends answer to the golden images with what was recorded.

    Args:
        bundle: the bundle under proof.
        file: the model file that the backends run.
    """

    def __init__(self, bundle: Bundle, file: ModelFile) -> None:
        self._bundle, self._file = bundle, file

    @cached_property
    def _golden(self) -> tuple[GoldenSet, Pixels]:
        """The golden set and its pixels, once those are proved."""
        return prove_pixels(self._bundle)

    def prove(self, backends: Sequence[Backend], buckets: Sequence[int], *, alike: bool) -> None:
        """Have every backend answer all golden images, and then full batches of them.

        Nothing is compared before every batch size is prepared: what prepares one may spoil
        another. A convolution of ONNX Runtime on a GPU, for example, keeps the plan of the last
        size alone, while the CUDA graphs of all sizes were recorded from plans of their own.

        Args:
            backends: instances on one device.
            buckets: the batch sizes that run, ascending.
            alike: whether one instance may speak for all, and one batch size for the others: a
                runtime on a CPU keeps nothing for one that another could spoil. Then each instance
                answers the images once, and the instances share the full batches, which show
                whether the model mixes images. Else each instance answers all images in every
                batch size.

        Raises:
            BundleError: an answer differs from the recorded one.
        """
        for backend in backends:
            for bucket in reversed(buckets):
                buffer = backend.allocate(bucket)
                if not alike:
                    backend.run(buffer, bucket)
        # At once, as they will serve: with many instances of a large model this takes long.
        one = self._difference if alike else self._difference_of_each
        differences = at_once([partial(one, backend, buckets) for backend in backends], "proof")
        shares = _shares(buckets, len(backends)) if alike else [[*buckets]] * len(backends)
        full = [
            partial(self._prove_full, backend, buckets, share)
            for backend, share in zip(backends, shares, strict=True)
        ]
        at_once(full, "proof")
        logger.info(
            "%s: %d golden images: pixels equal, probabilities within %.2g (allowed %.2g)",
            self._bundle.path,
            len(self._golden[0].images),
            max(differences),
            self._file.tolerance,
        )

    def check(self, backend: Backend, bucket: int) -> None:
        """Have a backend answer one golden image in one batch, quickly; raise as `prove` does.

        For what was proved in another process, and may compute otherwise in this one.
        """
        proved = prove_pixels(self._bundle, 1)
        run, runtime = partial(predict, backend, [bucket]), backend.describe().runtime
        prove_probabilities(self._bundle, self._file, *proved, run, runtime)

    def _difference(self, backend: Backend, buckets: Sequence[int]) -> float:
        run, runtime = partial(predict, backend, buckets), backend.describe().runtime
        return prove_probabilities(self._bundle, self._file, *self._golden, run, runtime)

    def _difference_of_each(self, backend: Backend, buckets: Sequence[int]) -> float:
        largest = 0.0
        for bucket in buckets:
            try:
                largest = max(largest, self._difference(backend, [bucket]))
            except BundleError as error:
                device = backend.describe().device
                raise BundleError(f"{error}; it ran on {device} in batches of {bucket}") from error
        return largest

    def _prove_full(self, backend: Backend, buckets: Sequence[int], share: Sequence[int]) -> None:
        run, runtime = partial(predict, backend, buckets), backend.describe().runtime
        prove_mates(self._bundle, self._file, *self._golden, run, runtime, share)


def _shares(buckets: Sequence[int], backends: int) -> list[list[int]]:
    """Share the buckets out so that all backends have about as many images to run."""
    shares: list[list[int]] = [[] for _ in range(backends)]
    for bucket in reversed(buckets):
        min(shares, key=sum).append(bucket)
    return shares
