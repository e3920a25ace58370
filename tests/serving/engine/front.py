"""A front end without a process: what the engine is told of it, step by step."""

from collections.abc import Sequence
from typing import Literal, cast

import numpy as np

from serving.engine.job import ImageJob
from serving.engine.model import Model
from serving.engine.remote import RemoteImage, RemoteSlots
from serving.engine.sources import Size
from serving.errors import InvalidImageError, ServingError
from tests.support.bundles import SIDE
from tests.support.serving import Asking

Outcome = Literal["decoded", "broken", "dropped", "slow"]


class Request(Asking):
    """A request through a front end: its values, and what became of it."""

    def __init__(self, deadline: float, values: Sequence[int]) -> None:
        super().__init__(deadline)
        self.values = values
        self.refusal: ServingError | None = None
        self.has_left = False


class Front:
    """Asks for images, decodes what is granted, and may die at any moment.

    A value is written into a slot only while the engine does not have it, which `held` shows.
    """

    def __init__(self, model: Model, slots: int) -> None:
        self._model = model
        self._pixels = np.zeros((slots, SIDE, SIDE, 3), np.uint8)
        self.free, self.held = [*range(slots)], set[int]()
        self.remote = model.decode_elsewhere(
            1, 1, self._grant, RemoteSlots(self._pixels, self._give_back)
        )
        self.granted: list[tuple[ImageJob, int]] = []
        self.requests: list[Request] = []

    def ask(self, request: Request, *, decoded: bool) -> None:
        """Ask for the images of a request, decoded ones where there are slots."""
        self.requests.append(request)
        images = []
        for index, value in enumerate(request.values):
            slot = self._write(value) if decoded and self.free else -1
            images.append(RemoteImage(Size("raw", 64, 64), value, index, slot))
        try:
            self._model.submit(images, request, 0, self.remote.pools)
        except ServingError as error:
            request.refusal = error
        for image in images:
            if image.slot >= 0:  # the engine did not want it
                self._give_back(image.slot)

    def decode(self, which: int, outcome: Outcome) -> None:
        """Decode one of the granted images, or find that it cannot be."""
        job, value = self.granted.pop(which % len(self.granted))
        if outcome == "decoded" and self.free:
            slot = self._write(value)
            if self.remote.take_out(job):
                self.remote.slots.fill(job, slot, job.waiter.admitted, job.waiter.admitted)
                self.remote.ready([job])
            else:
                self._give_back(slot)
        elif outcome == "broken":
            self.remote.fail(job, InvalidImageError("broken"))
        elif outcome == "slow":
            self.remote.slow_down(job)
            self.granted.append((job, value))
        else:
            self.remote.drop([job])

    def leave(self, request: Request) -> None:
        """Have a caller leave: its images are decoded no more."""
        if request.answers is None and not request.refusal and not request.has_left:
            request.has_left = True
            request.leave()
            own = [job for job, value in self.granted if value in request.values]
            self.granted = [(j, v) for j, v in self.granted if v not in request.values]
            self.remote.drop(own)

    def die(self) -> None:
        """End with all that it has; its memory goes with it."""
        for request in self.requests:
            self.leave(request)
        self._model.decode_no_more(self.remote)
        self.granted.clear()

    def _write(self, value: int) -> int:
        slot = self.free.pop()
        assert slot not in self.held
        self._pixels[slot] = value
        self.held.add(slot)
        return slot

    def _grant(self, jobs: Sequence[ImageJob]) -> None:
        self.granted += [(job, cast("RemoteImage", job.source).call) for job in jobs]

    def _give_back(self, slot: int) -> None:
        self.held.remove(slot)
        self.free.append(slot)
