"""The versions that are labelled shadow: each runs again what the usual one has answered."""

import asyncio
from typing import NamedTuple

from images.limits import ImageLimits
from serving.engine.model import Model
from serving.engine.repository import ModelRepository
from serving.engine.rollout import SHADOW
from serving.engine.shadow import Shadow, ShadowMetrics
from serving.metrics import Metrics
from serving.threads import in_thread


class Shadows:
    """Opens and closes shadows, as labels say; its methods run on the event loop.

    Args:
        models: the loaded models, with their labels.
        image_limits: what an image may cost.
        metrics: those of the server.
    """

    def __init__(
        self, models: ModelRepository, image_limits: ImageLimits, metrics: Metrics
    ) -> None:
        self._models, self._image_limits = models, image_limits
        self._metrics = ShadowMetrics(metrics)
        self._held: dict[str, _Held] = {}
        self._closing: dict[asyncio.Future[None], Shadow] = {}

    @property
    def is_busy(self) -> bool:
        """Whether a shadow opens that is to end; nothing can interrupt it."""
        return bool(self._closing)

    def update(self, name: str) -> None:
        """Have the shadow of a model run what its usual version answers, if it has a shadow."""
        shelf, held = self._models.shelf(name), self._held.pop(name, None)
        tried = shelf.labelled.get(SHADOW) if shelf else None
        if shelf and (tried is shelf.usual or not (tried and are_comparable(tried, shelf.usual))):
            tried = None
        if held:
            held.usual.shadow = None
            if held.tried is not tried:
                self._close(held.shadow)
        if shelf and tried:
            shadow = held.shadow if held and held.tried is tried else self._open(tried)
            shelf.usual.shadow = shadow
            self._held[name] = _Held(shelf.usual, tried, shadow)

    async def close(self) -> None:
        """End all when what they run has ended; one that opens is left to itself."""
        for held in self._held.values():
            held.usual.shadow = None
            self._close(held.shadow)
        self._held.clear()
        ending = [each for each, shadow in self._closing.items() if not shadow.is_opening]
        await asyncio.gather(*ending)

    def _open(self, model: Model) -> Shadow:
        shadow = Shadow(
            model.bundle,
            model.open_another,
            model.buckets[0],
            is_idle=self._models.is_idle,
            image_limits=self._image_limits,
            metrics=self._metrics,
        )
        shadow.start()
        return shadow

    def _close(self, shadow: Shadow) -> None:
        closing = asyncio.wrap_future(in_thread(shadow.close, "close"))
        self._closing[closing] = shadow
        closing.add_done_callback(self._closing.pop)


class _Held(NamedTuple):
    """A shadow, the version that it runs, and the one whose images it gets."""

    usual: Model
    tried: Model
    shadow: Shadow


def are_comparable(one: Model, other: Model) -> bool:
    """Whether the answers of two versions are about the same classes."""
    return one.bundle.manifest.labels == other.bundle.manifest.labels
