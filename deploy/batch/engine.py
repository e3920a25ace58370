"""The server's engine without a server: chunks of images in, answers out, from any thread."""

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future

from prometheus_client import CollectorRegistry

from bundle.store import Bundle
from deploy.batch.errors import DatasetError, EngineLostError
from images.decoders import configure
from serving.config import ServingConfig
from serving.engine.job import Answer
from serving.engine.model import Model
from serving.engine.sources import Encoded
from serving.errors import (
    DeadlineExceededError,
    DeviceLostError,
    InvalidRequestError,
    OverloadedError,
    UnavailableError,
)
from serving.loading import load_bundle
from serving.metrics import Metrics

# Nobody waits for an image: its deadline only gives the order. It is far enough to refuse none.
PATIENCE_S = 1e6
# What says nothing of an image, but that it was there when a device was lost or overdue: it is
# classified again after pauses, in which the device is reopened.
PASSING = (DeviceLostError, UnavailableError, DeadlineExceededError)
PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


class Engine:
    """One proved and warm model. Any thread may call; the event loop has a thread of its own.

    Raises what `load_bundle` raises.
    """

    def __init__(self, bundle: Bundle, config: ServingConfig) -> None:
        configure()
        self.model: Model = load_bundle(bundle, config, Metrics(CollectorRegistry()))
        self.most_images = config.max_inflight_images
        self._loop = asyncio.new_event_loop()
        self._freed = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name="engine", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()

    @property
    def useful_images(self) -> int:
        """How many images in flight keep all devices busy with their largest batches."""
        needed = 3 * self.model.buckets[-1] * len(self.model.devices)
        return min(max(needed, 64), self.most_images)

    def submit(self, images: Sequence[bytes]) -> "Future[list[Answer]]":
        """Begin to classify a chunk of images; the future has their answers, in order.

        Its exception is a `DatasetError` if the devices are lost for good.
        """
        return asyncio.run_coroutine_threadsafe(self._classify(images), self._loop)

    def close(self) -> None:
        """Wait for what runs, and free the devices."""
        self.model.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> None:
        self.model.start()

    async def _classify(self, images: Sequence[bytes]) -> list[Answer]:
        answers = await self._ask(images)
        for pause_s in PAUSES_S:
            again = [index for index, one in enumerate(answers) if isinstance(one, PASSING)]
            if not again:
                return answers
            if lost := self.model.lost_process:
                raise EngineLostError(
                    f"{lost}; the same command goes on in a new process"
                ) from lost
            await asyncio.sleep(pause_s)
            retried = await self._ask([images[index] for index in again])
            for index, answer in zip(again, retried, strict=True):
                answers[index] = answer
        if passing := next((one for one in answers if isinstance(one, PASSING)), None):
            raise DatasetError(f"the devices do not come back: {passing}") from passing
        return answers

    async def _ask(self, images: Sequence[bytes]) -> list[Answer]:
        """Return what the engine says of each image, once there is room for them."""
        if not images:
            return []
        sources = [Encoded(image) for image in images]
        nbytes = sum(map(len, images))
        while True:
            self._freed.clear()
            try:
                answers = await self.model.classify(sources, time.monotonic() + PATIENCE_S, nbytes)
            except OverloadedError:
                await self._freed.wait()  # others are in flight, or there would be room
                continue
            except InvalidRequestError as error:
                if len(images) == 1:
                    return [error]
                return [answer for image in images for answer in await self._ask([image])]
            except PASSING as error:
                answers = [error] * len(images)
            self._freed.set()
            return answers
