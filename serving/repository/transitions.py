"""Where a bundle becomes a model, beside those that answer, and where a model ends."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from bundle.store import Bundle
from serving.config import ServingConfig
from serving.engine.model import Model
from serving.engine.watch import LOOK_S
from serving.loading import load_bundle, open_bundle, within_limits
from serving.memory import tidy
from serving.metrics import Metrics
from serving.threads import in_background, in_thread

Result = TypeVar("Result")

# Between finding a model and asking it there is a moment, on gRPC's thread, in which nothing shows
# that somebody will. It is far shorter than this, in seconds.
MOMENT_S = 0.5


class Transitions:
    """Does what takes long in threads, while the event loop goes on.

    Args:
        config: how models run.
        metrics: those of the server.

    Attributes:
        gives_way: whether others need the cores: once the server answers, this has the lowest
            priority.
    """

    def __init__(self, config: ServingConfig, metrics: Metrics) -> None:
        self._config, self._metrics = config, metrics
        self.gives_way = False
        self._running: list[Future[Any]] = []

    async def open(self, path: Path) -> Bundle:
        """Return the bundle at `path`, each file checked against its seal; raise `BundleError`."""
        return await self.do(partial(open_bundle, path, self._config))

    @property
    def is_busy(self) -> bool:
        """Whether a thread works on something, which nothing can interrupt."""
        return any(not future.done() for future in self._running)

    async def load(self, bundle: Bundle) -> Model:
        """Return a model that has proved itself, is warm, and answers from now on.

        Raises:
            BundleError: its answers differ from the recorded ones.
            StartupError: it cannot run as configured, or needs too much.
            ProcessLostError: nothing can run on the device any more.
        """
        try:
            model = await self.do(partial(load_bundle, bundle, self._config, self._metrics))
        except Exception:
            self._metrics.forget(bundle.manifest.name, bundle.manifest.version)
            raise
        try:
            with within_limits():
                model.start()
        except Exception:
            await self._end(model)
            raise
        return model

    async def retire(self, model: Model) -> None:
        """End a model that no request finds any more, once it has answered all that it has."""
        await asyncio.sleep(MOMENT_S)
        # The path of a request is not made longer to tell when the last one ends.
        while model.is_used:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)
        await self._end(model)

    async def do(self, work: Callable[[], Result]) -> Result:
        """Do `work` in a thread."""
        future = (in_background if self.gives_way else in_thread)(work, "load")
        self._running = [other for other in self._running if not other.done()] + [future]
        return await asyncio.wrap_future(future)

    async def tidy(self) -> None:
        """Give back the memory of what has gone, and keep the collector from what has come.

        Whoever calls must have dropped what has gone. At the start this is done once, for all.
        """
        if self.gives_way:
            await self.do(tidy)

    async def _end(self, model: Model) -> None:
        await self.do(model.close)
        self._metrics.forget(model.name, model.version)
