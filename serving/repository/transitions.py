"""Where a bundle becomes a model, beside those that answer, and where a model ends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from weakref import WeakSet

from bundle.kinds import Precision
from bundle.store import Bundle
from serving.backends.devices import parse_devices
from serving.config import ServingConfig
from serving.engine.model import Model
from serving.engine.watch import LOOK_S
from serving.hotload.process import HotLoad
from serving.loading import load_bundle, within_limits
from serving.memory import tidy
from serving.metrics import Metrics
from serving.opening import open_bundle
from serving.threads import in_thread

Result = TypeVar("Result")

# Between finding a model and asking it there is a moment, on gRPC's thread, in which nothing shows
# that somebody will. It is far shorter than this, in seconds.
MOMENT_S = 0.5


class Opened(NamedTuple):
    """A bundle whose digests were checked.

    Attributes:
        load: returns a model of it that has proved itself, is warm, and answers from now on. It
            raises BundleError if its answers differ from the recorded ones, StartupError if it
            cannot run as configured, or needs too much, and ProcessLostError if nothing can run on
            the device any more.
    """

    bundle: Bundle
    load: Callable[[], Awaitable[Model]]


class Transitions:
    """Does what takes long in threads, or other processes, while the event loop goes on.

    Args:
        config: how models run.
        metrics: those of the server.
        is_idle: whether no image is in flight; any thread may call it.

    Attributes:
        is_serving: whether there is somebody to disturb: from now on, what is loaded for CPUs is
            proved in a process of its own.
    """

    def __init__(
        self, config: ServingConfig, metrics: Metrics, is_idle: Callable[[], bool]
    ) -> None:
        self._config, self._metrics, self._is_idle = config, metrics, is_idle
        self.is_serving = False
        self._running: list[Future[Any]] = []
        self._young = WeakSet[Model]()  # those from which the collector does not keep away

    @asynccontextmanager
    async def opened(
        self, path: Path, precision: Precision | None = None
    ) -> AsyncIterator["Opened"]:
        """Check each file of the bundle at `path` against its seal, and yield it.

        Args:
            path: the folder.
            precision: one of `also_precision`; None: the usual one.

        Raises:
            BundleError: it does not verify.
            StartupError: the process that checks it was killed, or takes too long.
        """
        # Before that, nobody is disturbed, and the start of a process would only take time.
        is_hot = self.is_serving and parse_devices(self._config.device)[0].kind == "cpu"
        config = self._config
        if precision:
            config = config.model_copy(update={"precision": precision})
        load = HotLoad(path, config, self._is_idle) if is_hot else _Load(path, config)
        try:
            bundle = await self.do(load.open)
            yield Opened(bundle, partial(self._load, load, bundle))
        finally:
            load.kill()
            await self.do(load.close)

    @property
    def is_busy(self) -> bool:
        """Whether a thread works on something, which nothing can interrupt."""
        return any(not future.done() for future in self._running)

    async def _load(self, load: "HotLoad | _Load", bundle: Bundle) -> Model:
        try:
            model = await self.do(partial(load.load, self._metrics))
        except Exception:
            self._metrics.forget(bundle.manifest.name, bundle.manifest.version)
            raise
        try:
            with within_limits():
                model.start()
        except Exception:
            await self._end(model)
            raise
        if self.is_serving:
            self._young.add(model)
        return model

    async def retire(self, model: Model) -> None:
        """End a model that no request finds any more, once it has answered all that it has."""
        await asyncio.sleep(MOMENT_S)
        # The path of a request is not made longer to tell when the last one ends.
        while model.is_used or model.is_shared:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)
        await self._end(model)

    async def do(self, work: Callable[[], Result]) -> Result:
        """Do `work` in a thread; raise `StartupError` if this machine has no more of them."""
        with within_limits():
            future = in_thread(work, "load")
        self._running = [other for other in self._running if not other.done()] + [future]
        return await asyncio.wrap_future(future)

    def is_young(self, model: Model) -> bool:
        """Whether a model is garbage that the collector finds without looking at everything."""
        return model in self._young

    async def tidy(self, *, whole: bool) -> None:
        """Give back the memory of what has gone; who calls must have dropped it.

        Args:
            whole: whether it was not `is_young`. What looks at everything takes so long that
                callers may notice.
        """
        if whole:
            self._young.clear()
        await self.do(partial(tidy, whole=whole))

    async def _end(self, model: Model) -> None:
        await self.do(model.close)
        self._metrics.forget(model.name, model.version)


class _Load:
    """A load in the threads of this process, where nothing can end it before its end."""

    def __init__(self, path: Path, config: ServingConfig) -> None:
        self._path, self._config = path, config

    def open(self) -> Bundle:
        self._bundle = open_bundle(self._path, self._config)
        return self._bundle

    def load(self, metrics: Metrics) -> Model:
        return load_bundle(self._bundle, self._config, metrics)

    def kill(self) -> None:
        pass

    def close(self) -> None:
        pass
