"""A backend's buffers, one for each batch size, and the images in them."""

from collections.abc import Sequence

from images.transform import Pixels
from serving.backends.backend import Backend, Probabilities
from serving.engine.job import ImageJob


class Buffers:
    """A backend and what it reads; used by one thread at a time.

    Attributes:
        warm: the buckets that have run.
    """

    def __init__(self, backend: Backend, buckets: Sequence[int]) -> None:
        self._backend = backend
        self._buffers = {bucket: backend.allocate(bucket) for bucket in buckets}
        # Views of their rows, made only once: an image is in its place if its pixels are that view.
        self._rows = {bucket: [*buffer] for bucket, buffer in self._buffers.items()}
        self.warm: set[int] = set()

    def place(self, row: int, bucket: int, job: ImageJob) -> Pixels:
        """Return the row to decode a job into, or its slot if the batch shrank to fewer rows."""
        return self._rows[bucket][row] if row < bucket else job.lease.slot

    def gather(self, jobs: list[ImageJob], bucket: int) -> None:
        """Copy the images that are not in their row yet.

        Images only move towards the front of a batch (those before them were dropped, or they are
        a later part of it), each after those before it: none is overwritten that is still needed.
        """
        for row, job in zip(self._rows[bucket], jobs, strict=False):
            if job.pixels is not row:
                row[:] = job.pixels
                job.pixels = row

    def run(self, bucket: int, images: int) -> Probabilities:
        """Run a bucket; return float32 (images, classes) for its first `images` rows."""
        probabilities = self._backend.run(self._buffers[bucket], images)
        self.warm.add(bucket)
        return probabilities
