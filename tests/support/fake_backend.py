"""Stand-ins for what only a runtime or a GPU has: a backend without a model, unlocked memory."""

from collections.abc import Callable

import numpy as np

from images.transform import Pixels
from serving.backends.backend import Placement, Probabilities


class FakeBackend:
    """Gives an image probability 1 for the class that its first sample names.

    Args:
        classes: number of classes.
        side: height and width of the images, in pixels.
        before_run: called with the images of each batch; may block, and may raise to fail it.
    """

    def __init__(
        self, classes: int, side: int, before_run: Callable[[Pixels], None] = lambda _: None
    ) -> None:
        self.classes, self.side, self.before_run = classes, side, before_run
        self.batches: list[tuple[int, int]] = []
        self.is_closed = self.is_trimmed = False

    def allocate(self, bucket: int) -> Pixels:
        """Return a uint8 buffer (bucket, side, side, 3)."""
        return np.zeros((bucket, self.side, self.side, 3), np.uint8)

    def run(self, buffer: Pixels, images: int) -> Probabilities:
        """Return one-hot float32 (images, classes); record (images, bucket) in `batches`."""
        self.batches.append((images, len(buffer)))
        self.is_trimmed = False
        self.before_run(buffer[:images])
        return np.eye(self.classes, dtype=np.float32)[buffer[:images, 0, 0, 0] % self.classes]

    def describe(self) -> Placement:
        """Return the fake's placement."""
        return Placement("fake", "cpu", "fp32")

    def trim(self) -> None:
        """Note that nothing ran since."""
        self.is_trimmed = True

    def widen(self, threads: int) -> None:
        """Return None: a fake has no threads."""

    def close(self) -> None:
        """Note that it was closed."""
        self.is_closed = True


class PlainMemory:
    """Ordinary memory in place of `serving.backends.ort.cuda.PinnedMemory`."""

    def allocate(self, shape: tuple[int, ...]) -> Pixels:
        """Return zeroed memory."""
        return np.zeros(shape, np.uint8)

    def close(self) -> None:
        """Nothing is locked."""
