"""The life of the server: listen, load, serve, drain."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

from prometheus_client import CollectorRegistry

from serving.api.requests import Requests
from serving.backends.devices import parse_devices
from serving.backends.ort.cuda import watch_gpu_memory
from serving.config import ServingConfig
from serving.console import banner
from serving.engine.repository import ModelRepository
from serving.errors import ProcessLostError
from serving.lifecycle import (
    DEVICE_LOST,
    Readiness,
    State,
    background,
    exit_after,
    exit_now,
    stop_on_signals,
    unless,
)
from serving.logs import announce
from serving.memory import tidy
from serving.metrics import Metrics
from serving.ports import Ports
from serving.repository.control import Control
from serving.repository.triggers import hanging_up, watch

logger = logging.getLogger(__name__)

# What follows the grace period: connections close, models are freed, the interpreter ends.
CLOSING_S = 1.0
# The grace period of a process that can run nothing any more: what waits is refused, and told so.
LOST_GRACE_S = 1.0


async def serve(config: ServingConfig) -> bool:
    """Serve until a signal; return whether nothing was being loaded any more at the end.

    The process ends with code `lifecycle.UNFINISHED` if that takes too long, and with code
    `lifecycle.DEVICE_LOST` once it has lost its devices: a new process may have them again.

    Raises:
        StartupError: a port is taken, or a model cannot run as configured.
        BundleError: a bundle does not prove itself.
    """
    server = Server(config)
    with stop_on_signals() as stop:
        async with server.listening():
            try:
                loaded = await unless(stop, server.load())
                if loaded:
                    tidy(whole=True)
                    await server.start()
                    await unless(stop, server.loss())
                    limit_s = config.shutdown_delay_s + config.grace_period_s + CLOSING_S
                    exit_after(limit_s, server.unfinished)
                    await server.drain()
            except ProcessLostError as error:
                await server.give_up(error)
    return bool(loaded) and not server.control.is_busy


class Server:
    """A gRPC and an HTTP server for the models of one configuration.

    It listens before it loads: a taken port is known at once, and probes find it alive.
    """

    def __init__(self, config: ServingConfig) -> None:
        self._config = config
        self.metrics = Metrics(CollectorRegistry())
        self.readiness = Readiness(self.metrics.ready)
        self.repository = ModelRepository()
        self.control = Control(
            config,
            self.repository,
            self.metrics,
            changed=self.models_changed,
            lost=self._process_lost,
        )
        requests = Requests(
            self.repository,
            self.readiness,
            config.max_images_per_request,
            config.default_timeout_ms / 1000,
            self.control,
        )
        self._lost: asyncio.Future[ProcessLostError] = asyncio.get_running_loop().create_future()
        self._triggers: asyncio.Task[None] | None = None
        self._ports = Ports(config, requests, self.metrics.registry)
        self.grpc, self.http = self._ports.grpc, self._ports.http

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen while the context is open, then close everything."""
        try:
            async with hanging_up(self._config) as self._hung_up, self._ports.listening():
                yield
        finally:
            self._look_no_more()
            await self.control.close()

    async def load(self) -> bool:
        """Load, prove and warm every model; return True."""
        await self.control.start()
        # Only now: a failed load explains better what a device lacks.
        watch_gpu_memory(self.metrics.registry, parse_devices(self._config.device))
        return True

    async def start(self) -> None:
        """Report SERVING to probes, print the banner, and look at the repository from now on."""
        self.control.transitions.is_serving = True
        self.readiness.enter(State.SERVING)
        await self._publish_models()
        await self.repository.known_everywhere()
        bundle = next((model.bundle for model in self.repository.all()), None)
        announce(banner(bundle, self._config, self.grpc.port, self.http.port))
        if not bundle:
            logger.warning("nothing is served yet: `python -m clients models list` says why")
        if self._config.repository:
            self._triggers = background(watch(self.control, self._config, self._hung_up))

    async def loss(self) -> None:
        """Wait until a model can run in this process no more; raise `ProcessLostError`."""
        raise await asyncio.shield(self._lost)  # whoever gives up waiting must not cancel it

    async def drain(self) -> None:
        """Report NOT_SERVING; after the delay, refuse new calls and finish those in flight.

        Raises `ProcessLostError` if a model can run in this process no more.
        """
        self._look_no_more()
        await self.grpc.health.enter_graceful_shutdown()
        self.readiness.enter(State.DRAINING)
        logger.info("draining: answering for %g s more", self._config.shutdown_delay_s)
        await asyncio.sleep(self._config.shutdown_delay_s)
        logger.info("draining: refusing new calls, finishing those in flight")
        await self._ports.drain(self._config.grace_period_s)
        logger.info("drained")
        if self._lost.done():
            await self.loss()

    async def give_up(self, error: ProcessLostError) -> NoReturn:
        """Refuse what waits and what comes, for a moment, and end with code `DEVICE_LOST`.

        All devices are of one kind, and the error is the process's, so no model can go on. Nothing
        is closed: what would free a lost device fails, too, or aborts the process.
        """
        logger.critical(
            "%s; nothing can run in this process any more, which ends with exit code %d: "
            "start another",
            error,
            DEVICE_LOST,
        )
        exit_after(LOST_GRACE_S + CLOSING_S, self.unfinished, DEVICE_LOST)
        for model in self.control.models():
            model.refuse()
        if self.readiness.state is not State.DRAINING:  # else all calls have ended
            await self.grpc.health.enter_graceful_shutdown()
            self.readiness.enter(State.DRAINING)
            await self._ports.drain(LOST_GRACE_S)
        exit_now(DEVICE_LOST)

    def _look_no_more(self) -> None:
        if self._triggers:
            self._triggers.cancel()
        self.control.stop()

    def unfinished(self) -> list[str]:
        """Return what the threads of the models work on."""
        return [task for model in self.control.models() for task in model.watch.unfinished()]

    def models_changed(self) -> None:
        """Tell probes which models answer now, and `loss` whether the process can go on."""
        errors = (model.lost_process for model in self.control.models())
        if error := next((e for e in errors if e), None):
            self._process_lost(error)
        self._publishing = asyncio.create_task(self._publish_models())

    def _process_lost(self, error: ProcessLostError) -> None:
        if not self._lost.done():
            self._lost.set_result(error)

    async def _publish_models(self) -> None:
        """Report which models answer; the server does while at least one of them does."""
        if self.readiness.state is not State.SERVING:
            return
        models = self.repository.ready()
        await self.grpc.health.show(models)
        self.metrics.ready.set(any(models.values()))
