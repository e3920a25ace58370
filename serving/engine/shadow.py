"""Images that one version has answered, run again on another while nothing else is in flight."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from bundle.store import Bundle
from images.limits import ImageLimits
from serving.backends.backend import Backend, Probabilities
from serving.engine.job import ImageJob
from serving.engine.queue import compute_thread
from serving.engine.sources import Source
from serving.errors import DeviceLostError, ProcessLostError, ServingError
from serving.metrics import Metrics
from serving.threads import BACKGROUND_NICENESS

logger = logging.getLogger(__name__)

# What may wait for its turn: images, and their bytes as they arrived.
MOST_IMAGES, MOST_BYTES = 32, 16 * 2**20

Outcome = Literal["agrees", "differs", "skipped", "failed"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
DIFFERENCES = (0.0001, 0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


class ShadowMetrics:
    """What all shadows count, by the version that is tried; forgotten with that."""

    def __init__(self, metrics: Metrics) -> None:
        self.images = metrics.counter(
            "shadow_images",
            "Images that were answered by another version and offered to this one, its shadow: the "
            "most probable class agrees or differs, it could not be run, or it was skipped because "
            "the server had other work",
            "outcome",
        )
        self.difference = metrics.histogram(
            "shadow_difference",
            "Largest difference of a class's probability between the version that answered an "
            "image and this one, its shadow",
            DIFFERENCES,
        )


class Answered(NamedTuple):
    """An image, its size in bytes as it arrived, and its probabilities, float32 (classes,)."""

    source: Source
    nbytes: int
    probabilities: Probabilities


class Shadow:
    """Runs images on a version that answers nobody with them, and compares.

    It has an instance of its own, and a thread to which the kernel gives a core only while no other
    thread needs it. An image is begun only while none is in flight; if one comes meanwhile, no
    other is begun, and what waits is skipped. Nobody waits for it, and nothing is learned from its
    times.

    Args:
        bundle: the version that is tried; its classes are those of the one that answers.
        open_backend: opens an instance, proved in given batch sizes.
        bucket: the batch size in which it runs.
        is_idle: whether no image is in flight, of any model; any thread may call it.
        image_limits: what an image may cost.
        metrics: counts what is found.

    Attributes:
        is_opening: whether its instance is neither open nor given up yet.
    """

    def __init__(
        self,
        bundle: Bundle,
        open_backend: Callable[[Sequence[int]], Backend],
        bucket: int,
        *,
        is_idle: Callable[[], bool],
        image_limits: ImageLimits,
        metrics: ShadowMetrics,
    ) -> None:
        self._bundle, self._open_backend, self._bucket = bundle, open_backend, bucket
        self._is_idle, self._image_limits = is_idle, image_limits
        bound = bundle.manifest.name, bundle.manifest.version
        self._images = {each: metrics.images.labels(*bound, each) for each in OUTCOMES}
        self._difference = metrics.difference.labels(*bound)
        # Guards what follows. Whoever waits for images waits for it.
        self._changed = threading.Condition()
        self._waiting = deque[Answered]()
        self._nbytes = 0
        self._takes = self._is_closed = False
        self.is_opening = True
        self._thread = compute_thread("shadow", self._run, BACKGROUND_NICENESS)

    def start(self) -> None:
        """Open the instance; images that come before it is open are skipped."""
        self._thread.start()

    def close(self) -> None:
        """Skip what waits, and wait for the image that runs, or the opening, however long."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def offer(self, jobs: Sequence[ImageJob], probabilities: Probabilities) -> None:
        """Run the images of a batch that has been answered, if they find room; never wait.

        Args:
            jobs: they hold nothing any more but their images.
            probabilities: their answers, float32 (images, classes), which nobody changes.
        """
        is_idle, taken = self._is_idle(), 0
        with self._changed:
            for job, row in zip(jobs, probabilities, strict=True):
                nbytes = job.lease.size.nbytes
                has_room = len(self._waiting) < MOST_IMAGES and self._nbytes + nbytes <= MOST_BYTES
                if self._takes and is_idle and has_room:
                    self._waiting.append(Answered(job.source, nbytes, row))
                    self._nbytes += nbytes
                    taken += 1
            self._changed.notify()
        self._images["skipped"].inc(len(jobs) - taken)

    def _run(self) -> None:
        try:
            backend = self._open_backend((self._bucket,))
        except Exception:
            logger.exception("no image runs on %s", self)
            return
        finally:
            self.is_opening = False
        logger.info("%s is open: images run on it while nothing else does", self)
        try:
            self._run_on(backend)
        except ProcessLostError:  # then it must not be closed
            logger.exception("no image runs on %s any more", self)
        except DeviceLostError:
            logger.exception("no image runs on %s any more", self)
            backend.close()
        else:
            backend.close()
        finally:
            with self._changed:
                self._takes = False
            self._skip_waiting()

    def _run_on(self, backend: Backend) -> None:
        with self._changed:
            self._takes = True
        while image := self._next():
            if self._is_idle():
                self._images[self._compare(backend, image)].inc()
            else:
                self._images["skipped"].inc()
                self._skip_waiting()
            del image  # it may be large, and the next one may be long in coming

    def _next(self) -> Answered | None:
        """Wait for an image and return it; None once it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            if self._is_closed:
                return None
            image = self._waiting.popleft()
            self._nbytes -= image.nbytes
            return image

    def _compare(self, backend: Backend, image: Answered) -> Outcome:
        try:
            pixels = image.source.pixels(self._bundle.manifest.transform, self._image_limits)
            buffer = backend.allocate(self._bucket)
            buffer[0] = pixels
            [probabilities] = backend.run(buffer, 1)
        except DeviceLostError:
            self._images["failed"].inc()
            raise
        except ServingError as error:
            logger.warning("an image fails on %s: %s", self, error)
            return "failed"
        except Exception:
            logger.exception("an image fails on %s", self)
            return "failed"
        difference = float(np.abs(probabilities - image.probabilities).max())
        if not np.isfinite(difference):
            return "failed"
        self._difference.observe(difference)
        agrees = probabilities.argmax() == image.probabilities.argmax()
        return "agrees" if agrees else "differs"

    def _skip_waiting(self) -> None:
        with self._changed:
            skipped, self._nbytes = len(self._waiting), 0
            self._waiting.clear()
        self._images["skipped"].inc(skipped)

    def __str__(self) -> str:
        """Name it, for the log."""
        manifest = self._bundle.manifest
        return f"{manifest.name}/{manifest.version} as a shadow"
