"""Front ends as the engine process sees them: started, told what they must know, ended."""

import asyncio
import logging
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager, suppress

from prometheus_client import CollectorRegistry, Counter, Gauge

from images.transform import Pixels
from serving.api.classifier import Classifier
from serving.api.oip.service import OpenInference
from serving.callers import Callers
from serving.config import ServingConfig
from serving.engine.decode import Decoding
from serving.engine.model import Model
from serving.engine.repository import ModelRepository
from serving.engine.sources import Source
from serving.errors import StartupError, UnavailableError
from serving.frontend import messages
from serving.frontend.counts import Sum, counters
from serving.frontend.desk import Desk
from serving.frontend.exchange import Exchange
from serving.frontend.forwarding import Methods
from serving.frontend.front_end import FrontEnd
from serving.frontend.messages import tell
from serving.frontend.shared_model import SharedModel
from serving.lifecycle import background
from serving.listener import listen

logger = logging.getLogger(__name__)

# Pauses before a front end is started again that has not lived for long.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
STEADY_S = 10.0
# What follows a drain's grace period before a front end is killed.
CLOSING_S = 0.5


class FrontEnds:
    """In the place of `GrpcServer`: holds its port, and has other processes answer there.

    Args:
        config: the server's.
        callers: who may call; knows the counters to which those of front ends are added.
        classifier, open_inference: answer what front ends forward.
        repository: the loaded models, which front ends are told of.
        registry: gets the metrics.

    Attributes:
        port: that all share.
        health: what probes are told.

    Raises:
        StartupError: the port is taken, or this is not Linux.
    """

    def __init__(
        self,
        config: ServingConfig,
        callers: Callers,
        classifier: Classifier,
        open_inference: OpenInference,
        repository: ModelRepository,
        registry: CollectorRegistry,
    ) -> None:
        if sys.platform != "linux":
            raise StartupError("--frontends needs Linux: memory and sockets are shared as it can")
        self._config, self._repository = config, repository
        self._counters = counters(callers)
        self.methods = Methods(classifier, open_inference)
        self._reservation = reserve(config.host, config.grpc_port)
        self.port: int = self._reservation.getsockname()[1]
        settings = config.model_dump(mode="json", exclude_unset=True)
        self._settings = settings | {"grpc_port": self.port}
        self.health = SharedHealth(self)
        self._exchange = Exchange("front ends")
        self._front_ends: dict[int, FrontEnd] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._drain_s: float | None = None
        self._deaths = Counter(
            "serving_frontend_deaths_total",
            "Front ends that ended by themselves (died), or were killed since they hung or a "
            "decode was overdue (hung); each is started again",
            ("reason",),
            registry=registry,
        )
        for reason in ("died", "hung"):
            self._deaths.labels(reason)
        Gauge(
            "serving_frontends", "Front ends that take calls now", registry=registry
        ).set_function(lambda: sum(front_end.is_started for front_end in self._front_ends.values()))
        repository.followers.append(self)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Have all front ends listen while the context is open, then end them.

        Raises `StartupError` if one cannot.
        """
        self._exchange.start()
        try:
            first = [self._start(number) for number in range(self._config.frontends)]
            for front_end in first:
                await front_end.started()
            self._keepers = [
                background(self._keep(number, front_end)) for number, front_end in enumerate(first)
            ]
            yield
        finally:
            for keeper in self._keepers:
                keeper.cancel()
            await asyncio.gather(*(front_end.end() for front_end in self._front_ends.values()))
            await asyncio.to_thread(self._exchange.close)
            self._reservation.close()

    async def drain(self, grace_s: float, http: Awaitable[None]) -> None:
        """Have all accept no more calls; return when all are over, or after the grace period.

        `http` is done when HTTP has drained: until then they still decode for it.
        """
        self._drain_s = grace_s
        self.tell_all(tell(op="drain", grace_s=grace_s))
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s + CLOSING_S):
                await asyncio.shield(http)
                self.tell_all(tell(op="end"))
                await asyncio.gather(
                    *(front_end.ended() for front_end in self._front_ends.values())
                )

    def decoding(self, model: Model) -> Decoding:
        """Return where an image of a caller of HTTP is decoded; see `Elsewhere`."""
        return self._nearest(model)[1].decoding.pools

    def show(self, model: Model, source: Source, deadline: float) -> Pixels:
        """Return the pixels that the network sees of such an image; see `Elsewhere`."""
        desk, shared = self._nearest(model)
        return desk.lending.show(shared, source, deadline)

    def _nearest(self, model: Model) -> tuple[Desk, SharedModel]:
        """Return the front end that has the least to decode, and the model as it has it."""
        front_ends = tuple(self._front_ends.values())
        started = [front_end.desk for front_end in front_ends if front_end.is_started]
        desks = [desk for desk in started if not desk.lending.is_closed]
        for desk in sorted(desks, key=lambda desk: desk.waiting):
            if shared := desk.shared(model):
                return desk, shared
        none = "no front end can decode images now; try again"
        raise UnavailableError(messages.GONE if desks else none)

    def follow(self) -> None:
        """Tell all front ends which models are loaded; this process decodes for none of these."""
        for model in self._repository.all():
            model.elsewhere = self
        for front_end in self._front_ends.values():
            front_end.tell_models(self._repository)

    async def caught_up(self) -> None:
        """Return when all that take calls know which models are loaded."""
        await asyncio.gather(*(front_end.caught_up() for front_end in self._front_ends.values()))

    def tell_all(self, message: bytes) -> None:
        """Send a message to all front ends."""
        for front_end in self._front_ends.values():
            front_end.send(message)

    def _start(self, number: int) -> FrontEnd:
        front_end = FrontEnd(
            self._config, self._settings, self._exchange, self.methods, Sum(self._counters)
        )
        self._front_ends[number] = front_end
        front_end.tell_models(self._repository)
        self.health.tell(front_end)
        return front_end

    async def _keep(self, number: int, front_end: FrontEnd) -> None:
        """Start a front end again whenever it has ended, until the server drains."""
        loop, pause_s = asyncio.get_running_loop(), 0.0
        while True:
            began = loop.time()
            reason = await front_end.watched()
            await front_end.end()
            if self._drain_s is not None:
                return
            self._deaths.labels(reason).inc()
            is_steady = loop.time() - began > STEADY_S
            pause_s = (
                FIRST_PAUSE_S if is_steady or not pause_s else min(2 * pause_s, LONGEST_PAUSE_S)
            )
            logger.error(
                "front end %d (process %d) %s: its callers have lost their connections; another "
                "starts in %.1f s",
                number,
                front_end.pid,
                front_end.epitaph(reason),
                pause_s,
            )
            if not (another := await self._started_again(number, pause_s)):
                return
            front_end = another

    async def _started_again(self, number: int, pause_s: float) -> FrontEnd | None:
        """Return a front end once this machine has what it needs; None if the server drains."""
        while True:
            await asyncio.sleep(pause_s)
            if self._drain_s is not None:
                return None
            try:
                return self._start(number)
            except StartupError as error:
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                logger.critical("%s; it is tried again in %.1f s", error, pause_s)


class SharedHealth:
    """What the health service of every front end says; see `grpc_server.Health`."""

    def __init__(self, front_ends: FrontEnds) -> None:
        self._front_ends = front_ends
        self._last = tell(op="health", models={})

    async def show(self, models: Mapping[str, bool]) -> None:
        """Report which models answer."""
        self._say(tell(op="health", models=dict(models)))

    async def enter_graceful_shutdown(self) -> None:
        """Report that nothing answers, from now on."""
        self._say(tell(op="shutdown"))

    def tell(self, front_end: FrontEnd) -> None:
        """Tell one that has just been started."""
        front_end.send(self._last)

    def _say(self, message: bytes) -> None:
        self._last = message
        self._front_ends.tell_all(message)


def reserve(host: str, port: int) -> socket.socket:
    """Return a socket that holds a port for processes of this user, and takes no connection.

    Raises `StartupError` if somebody has it: such a one would get a part of the connections.
    """
    probe = listen(host, port, "gRPC", "--grpc-port")
    family, address = probe.family, probe.getsockname()
    probe.close()
    holder = socket.socket(family, socket.SOCK_STREAM)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        holder.bind(address)
    except OSError as error:
        holder.close()
        raise StartupError(
            f"cannot listen on {host}:{address[1]} for gRPC: {error.strerror}; choose others with "
            f"--grpc-port and --host"
        ) from error
    return holder
