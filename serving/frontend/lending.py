"""Images that callers of HTTP have sent to the engine process, and that a front end decodes.

HTTP stays in the engine process: what only the engine knows is answered there, also while no front
end lives. But no file meets a decoder there. Once an image is admitted, its file goes to the front
end that has the least to decode, which treats it as one of its own. All images of one request go to
the same: where they are decoded is chosen before they are admitted, which depends on it.
"""

import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue

from images.transform import Pixels
from serving.engine.job import ImageJob
from serving.engine.model import NOT_DECODED
from serving.engine.remote import RemoteImage
from serving.engine.sources import Encoded, Raw, Ready, Source
from serving.errors import ServingError, UnavailableError
from serving.frontend import messages
from serving.frontend.exchange import Exchange
from serving.frontend.link import Link
from serving.frontend.messages import FIRST_ENGINE_CALL, Decode
from serving.frontend.shared_model import Asked, SharedModel


class Lent(Asked):
    """A request of one image.

    Attributes:
        call: its number.
        image: until it is sent.
    """

    __slots__ = ("call", "image")
    call: int
    image: Decode | None


class Shown(Lent):
    """A request for the pixels of one image, which is not classified.

    Attributes:
        ended: gets the pixels, uint8 (height, width, 3), or why there are none; None: it is late.
    """

    __slots__ = ("ended",)

    def __init__(self, shared: SharedModel) -> None:
        super().__init__(shared)
        self.ended: SimpleQueue[Pixels | ServingError | None] = SimpleQueue()

    def decoded(self, index: int, slot: int, started: float, ended: float) -> None:  # noqa: ARG002
        """Copy the pixels of its only image, so that the slot is free."""
        self.ended.put(self.shared.memory.pixels[slot].copy())

    def end(self, index: int, error: ServingError | None) -> None:  # noqa: ARG002 - likewise
        """Say that there are none."""
        self.ended.put(error)

    def end_all(self, error: ServingError | None) -> None:
        """Say that there are none."""
        self.ended.put(error)


class Lending:
    """Lends images to one front end; any thread may call, but where it says otherwise.

    Args:
        exchange: has `pass_on` called in each of its rounds.
        link: to the front end.
        asked: the requests that it has not answered, by their numbers; these are among them.
        send: sends a message soon.

    Attributes:
        is_closed: whether the front end has gone.
        shown: how many images it is to show.
    """

    def __init__(
        self,
        exchange: Exchange,
        link: Link,
        asked: dict[int, Asked],
        send: Callable[[bytes], None],
    ) -> None:
        self._exchange, self._link, self._asked, self._send = exchange, link, asked, send
        self._numbers = itertools.count()
        self._waiting: deque[Lent] = deque()  # to be sent
        self.is_closed, self.shown = False, 0

    def lend(self, shared: SharedModel, jobs: Sequence[ImageJob]) -> None:
        """Have images decoded, all of one request."""
        requests = [Lent(shared) for _ in jobs]
        for job, lent in zip(jobs, requests, strict=True):
            lent.jobs[0] = job
            times = job.waiter.arrived, job.waiter.deadline
            self._add(lent, job.source, *times, is_slow=job.lease.is_slow)
            job.source = RemoteImage(job.lease.size, lent.call, 0)  # lets go of the file
        jobs[0].waiter.on_end(partial(self._forget, requests))
        self._exchange.nudge()

    def show(self, shared: SharedModel, source: Source, deadline: float) -> Pixels:
        """Return the pixels that the network sees of an image; see `Elsewhere`."""
        self.shown += 1
        shown, now = Shown(shared), time.monotonic()
        self._add(shown, source, now, deadline)
        if self.is_closed:  # else whoever closes ends it
            shown.end_all(UnavailableError(NOT_DECODED))
        self._exchange.nudge()
        try:
            found = shown.ended.get(timeout=max(0.0, deadline - now))
        except Empty:
            found = None
        self._forget([shown])
        self.shown -= 1
        if isinstance(found, ServingError):
            raise found
        if found is None:
            raise TimeoutError
        return found

    def pass_on(self) -> None:  # the exchange's thread
        """Send what waits, one file at a time: other messages wait for no more than that."""
        while self._waiting and self._link.flush():
            lent = self._waiting.popleft()
            if image := lent.image:
                lent.image = None
                self._link.send(image.message())

    def _add(
        self, lent: Lent, source: Source, arrived: float, deadline: float, *, is_slow: bool = False
    ) -> None:
        assert isinstance(source, Encoded | Raw | Ready)
        lent.call = next(self._numbers) % FIRST_ENGINE_CALL + FIRST_ENGINE_CALL
        lent.image = Decode(lent.call, lent.shared.number, is_slow, arrived, deadline, source)
        self._asked[lent.call] = lent
        self._waiting.append(lent)

    def _forget(self, requests: Sequence[Lent]) -> None:
        """Have requests forgotten that are over, whatever has become of their images.

        On the exchange's thread, which may be moving one of them from queue to queue just now.
        """
        self._exchange.post(partial(self._end, requests))

    def _end(self, requests: Sequence[Lent]) -> None:  # the exchange's thread
        for lent in requests:
            self._asked.pop(lent.call, None)
            lent.image = None
            lent.end_all(None)
        self._send(messages.over([lent.call for lent in requests]))
