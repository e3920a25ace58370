"""Bytes -> pixels, for one job."""

from images.transform import Transform
from serving.engine.job import ImageJob
from serving.engine.latency import Clock, DecodeLatency
from serving.engine.pixel_pool import PixelPool
from serving.engine.runner import Sink
from serving.errors import InternalError, ServingError


class Decoder:
    """Decodes a job into its slot; any thread may call.

    Args:
        transform: the bundle's.
        max_image_pixels: largest image before the transform, in pixels.
        pool: where the slots are.
        sink: where jobs go that are not decoded.
        latency: learns how long it takes.
        clock: monotonic time, in seconds.
    """

    def __init__(
        self,
        transform: Transform,
        max_image_pixels: int,
        pool: PixelPool,
        sink: Sink,
        latency: DecodeLatency,
        clock: Clock,
    ) -> None:
        self._transform, self._max_image_pixels = transform, max_image_pixels
        self._pool, self._sink, self._latency, self._clock = pool, sink, latency, clock

    def __call__(self, job: ImageJob) -> bool:
        """Decode; return False where that fails or nobody waits for it. Nothing is raised."""
        job.decode_started = self._clock()
        if job.is_dead(job.decode_started):
            self._sink.drop([job])
            return False
        try:
            self._pool[job.slot][:] = job.source.pixels(self._transform, self._max_image_pixels)
        except ServingError as error:
            self._sink.fail([job], error)
        except Exception as error:  # noqa: BLE001 - a fault of one image is not one of its mates
            self._sink.fail([job], InternalError.logged(error))
        else:
            job.decoded, job.decode_s = self._clock(), 0.0
            self._latency.observe(job.size, job.decoded - job.decode_started, job.decoded)
            return True
        return False
