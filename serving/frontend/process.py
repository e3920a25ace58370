"""The life of a front end: from the engine's first message to its last, or the engine's end."""

import asyncio
import ctypes
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from prometheus_client import CollectorRegistry, Gauge

from cli.cores import usable_cores
from protos.classifier_pb2_grpc import ClassifierServicer
from protos.open_inference_pb2_grpc import GRPCInferenceServiceServicer
from serving.api.classify import ImageClassifier
from serving.api.oip.infer import ImageInference
from serving.api.requests import ImageRequests
from serving.callers import Callers
from serving.config import ServingConfig
from serving.errors import ServingError
from serving.frontend.counts import counters, totals
from serving.frontend.engine import EngineLink
from serving.frontend.exchange import Exchange
from serving.frontend.link import MOST_IMAGE_BYTES, Link
from serving.frontend.messages import tell
from serving.frontend.models import NewModel
from serving.frontend.remote_model import RemoteModel
from serving.frontend.slots import Slots
from serving.grpc_server import GrpcServer
from serving.lifecycle import Readiness, background

logger = logging.getLogger(__name__)

# How often a front end says that it is alive, in seconds.
BEAT_S = 0.25
# The exit code of one whose engine has gone.
ORPHANED = 72
PR_SET_PDEATHSIG = 1


class FrontClassifier(ImageClassifier, ClassifierServicer):  # type: ignore[misc]  # has no types
    """The Classifier of a front end; it forwards what its second base has not implemented."""


class FrontInference(ImageInference, GRPCInferenceServiceServicer):  # type: ignore[misc]
    """The GRPCInferenceService of a front end, likewise."""


def prepare() -> None:
    """Leave signals to the engine process, and end with it.

    A terminal and a service manager send them to all processes. The kernel ends this process with
    the engine's whatever its threads do then, even if one never lets go of Python's lock.
    """
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


async def serve(config: ServingConfig, end: socket.socket) -> bool:
    """Take calls until the engine ends that; return False if that cannot be."""
    return await FrontEnd(config, Link(end, MOST_IMAGE_BYTES)).run()


class FrontEnd:
    """A server of gRPC whose models are in another process.

    Args:
        config: the server's; its port is the one that the front ends share.
        link: to the engine.
    """

    def __init__(self, config: ServingConfig, link: Link) -> None:
        self._config = config
        self._exchange = Exchange("engine")
        self._said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        said = self._said.put_nowait
        self._engine = EngineLink(link, self._exchange, self._create, said, _orphaned)
        self._registry = CollectorRegistry()
        # Only its event is of use here: the engine knows the state.
        gauge = Gauge("serving_ready", "unused", registry=None)
        self._readiness = Readiness(gauge)
        self._callers: Callers
        self._grpc: GrpcServer

    async def run(self) -> bool:
        """Take calls until the engine wants that to end; return False if that cannot be."""
        self._exchange.add(self._engine)
        self._exchange.start()
        await self._engine.knows_models.wait()  # else its first callers would find none
        try:
            self._callers = Callers(self._config, self._registry)
            self._counters = counters(self._callers)
            self._grpc = self._server()
        except ServingError as error:
            self._engine.send(tell(op="failed", why=str(error)))
            return False
        async with self._callers.watching(), self._grpc.listening():
            hearing = background(self._hear(await self._said.get()))
            await hearing
            self._engine.send(tell(op="started"))
            beating = background(self._beat())
            while (said := await self._said.get())["op"] != "drain":
                # In order, as they wait for a lock; a slow watcher must not hold up a drain.
                hearing = background(self._hear(said))
            self._readiness.closing.set()
            await self._grpc.drain(said["grace_s"], self._decoded())
            for task in (beating, hearing):
                task.cancel()
        return True

    def _server(self) -> GrpcServer:
        config = self._config
        requests = ImageRequests(
            self._engine.repository,
            self._readiness,
            config.max_images_per_request,
            config.default_timeout_ms / 1000,
        )
        # What generated code declares abstract is never called: it is forwarded.
        services = FrontClassifier(requests), FrontInference(requests)  # type: ignore[abstract]
        forward = self._engine.forwarding.forward
        return self._callers.grpc(*services, self._readiness, forward)

    def _create(self, engine: EngineLink, new: NewModel, slots: Slots) -> RemoteModel:
        config = self._config
        threads, slow_threads = count_threads(config)
        return RemoteModel(
            new.number,
            new.bundle(),
            slots,
            engine,
            threads=threads,
            slow_threads=slow_threads,
            image_limits=config.image_limits,
            has_shares=config.max_share < 1,
        )

    async def _decoded(self) -> None:
        """Return when the engine has no more images of HTTP to be decoded."""
        while (await self._said.get())["op"] != "end":
            pass

    async def _hear(self, said: dict[str, Any]) -> None:
        if said["op"] == "health":
            await self._grpc.health.show(said["models"])
        else:
            await self._grpc.health.enter_graceful_shutdown()

    async def _beat(self) -> None:
        while True:
            self._say()
            await asyncio.sleep(BEAT_S)

    def _say(self) -> None:
        """Tell the engine that this process is alive, and what only it can know."""
        workers = [
            worker
            for model in self._engine.models
            for pool in (model.quick, model.slow)
            for worker in pool.workers
        ]
        ages = [worker.age_s(task) for worker in workers if (task := worker.task)]
        self._engine.send(
            tell(
                op="alive",
                decoding_s=max(ages, default=0.0),
                unused=self._engine.unused(),
                totals=totals(self._counters),
            )
        )


def count_threads(config: ServingConfig) -> tuple[int, int]:
    """Return how many threads of a front end decode for a model, and how many slow images."""
    share = max(1, -(-usable_cores().usable // max(1, config.frontends)))
    return config.decode_threads or share, config.background_threads or share


def main(descriptor: int) -> NoReturn:
    """Run a front end; the socket to the engine has this descriptor."""
    import uvloop

    from images.decoders import configure
    from serving import logs

    prepare()
    end = socket.socket(fileno=descriptor)
    config = ServingConfig.model_validate(read_settings(end))
    logs.start(config.log_level, config.log_format)
    configure()
    code = 1
    try:
        code = 0 if uvloop.run(serve(config, end)) else 1
    except Exception:
        logger.exception("the front end ends, as something in it has failed")
    finally:
        logging.shutdown()
        # Without a word to those threads that still decode: all callers have their answers.
        os._exit(code)


def read_settings(end: socket.socket) -> dict[str, Any]:
    """Return the first message: its size in four bytes, and JSON."""
    with end.makefile("rb", buffering=0) as stream:
        size = int.from_bytes(_exactly(stream.read, 4))
        settings: dict[str, Any] = json.loads(_exactly(stream.read, size))
    return settings


def _exactly(read: Callable[[int], bytes], size: int) -> bytes:
    data = b""
    while len(data) < size:
        if not (more := read(size - len(data))):
            os._exit(ORPHANED)
        data += more
    return data


def _orphaned(_error: Exception) -> NoReturn:
    # At once: nobody can answer any more, and callers learn it from the closed connection.
    os._exit(ORPHANED)
