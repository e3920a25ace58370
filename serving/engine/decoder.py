"""Bytes -> pixels, for one job."""

from export.contract.transform import Transform
from serving.engine.batcher import Batcher
from serving.engine.job import ImageJob
from serving.engine.latency import Clock
from serving.engine.pixel_pool import PixelPool
from serving.engine.runner import Sink
from serving.errors import InternalError, ServingError, UnavailableError


class Decoder:
    """Decodes a job into its slot and hands it to the batcher; any thread may call.

    Args:
        transform: the bundle's.
        max_image_pixels: largest image before the transform, in pixels.
        pool: where the slots are.
        batcher: where decoded jobs go.
        sink: where the others go.
        clock: monotonic time, in seconds.
    """

    def __init__(
        self,
        transform: Transform,
        max_image_pixels: int,
        pool: PixelPool,
        batcher: Batcher,
        sink: Sink,
        clock: Clock,
    ) -> None:
        self._transform, self._max_image_pixels = transform, max_image_pixels
        self._pool, self._batcher, self._sink, self._clock = pool, batcher, sink, clock

    def __call__(self, job: ImageJob) -> None:
        """Decode; whatever the image is, nothing is raised."""
        job.decode_started = self._clock()
        if job.is_dead(job.decode_started):
            self._sink.drop([job])
            return
        try:
            self._pool[job.slot][:] = job.source.pixels(self._transform, self._max_image_pixels)
        except ServingError as error:
            self._sink.fail([job], error)
        except Exception as error:  # noqa: BLE001 - a fault of one image is not one of the pool
            self._sink.fail([job], InternalError.logged(error))
        else:
            job.decoded = self._clock()
            if not self._batcher.put(job):
                self._sink.fail([job], closing())


def closing() -> UnavailableError:
    """Return the error of a job that waits while the model closes."""
    return UnavailableError("the server is shutting down")
