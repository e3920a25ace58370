"""Clients of several real servers behind one name, as a headless service of Kubernetes has it."""

import asyncio
import io
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from clients import AsyncClassifierClient, ClassifierClient, Prediction, UnavailableError, channel
from tests.support.bundles import photo, write_bundle
from tests.support.names import name_server
from tests.support.process import Server, metric, ready, start
from tests.support.scripted_server import scripted_server
from tests.support.serving import running_server

Classify = Callable[[], Awaitable[None]]
HERE, THERE = "127.0.0.1", "127.0.0.2"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("models"))


def png() -> bytes:
    file = io.BytesIO()
    photo(0).save(file, "png")
    return file.getvalue()


IMAGE = png()


@asynccontextmanager
async def blocking(address: str) -> AsyncIterator[Classify]:
    """Yield what sends an image, which must be answered."""
    with ClassifierClient(address) as client:

        async def classify() -> None:
            [result] = await asyncio.to_thread(client.classify, [IMAGE])
            assert isinstance(result, Prediction)

        yield classify


@asynccontextmanager
async def waiting(address: str) -> AsyncIterator[Classify]:
    """The same for asyncio."""
    async with AsyncClassifierClient(address) as client:

        async def classify() -> None:
            [result] = await client.classify([IMAGE])
            assert isinstance(result, Prediction)

        yield classify


both = pytest.mark.parametrize("connect", [blocking, waiting])


class Caller:
    """Sends one image after the other until it is told to stop; counts the answers."""

    def __init__(self, classify: Classify) -> None:
        self._classify, self._is_over = classify, False
        self.answers = 0
        self._task = asyncio.create_task(self._call())

    async def _call(self) -> None:
        while not self._is_over:
            await self._classify()
            self.answers += 1

    async def more(self, answers: int) -> None:
        """Return after so many more; raise what a call raised."""
        wanted = self.answers + answers
        while self.answers < wanted:
            if self._task.done():
                self._task.result()
            await asyncio.sleep(0.001)

    async def stop(self) -> None:
        self._is_over = True
        await self._task


def answered(server: Server) -> float:
    return metric(server, r'serving_images_total{.*outcome="ok".*}')


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
async def test_calls_go_to_all_and_on_when_one_dies(
    tiny: Path, end: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or when one answers no more, not even pings, as that of a machine that has vanished."""
    for name in ("KEEPALIVE_MS", "KEEPALIVE_TIMEOUT_MS"):
        monkeypatch.setattr(channel, name, 1000)
    processes = [start(tiny, stderr=None) for _ in range(2)]
    try:
        servers = [await asyncio.to_thread(ready, process) for process in processes]
        target = f"ipv4:{','.join(one.grpc.replace('localhost', HERE) for one in servers)}"
        async with blocking(target) as classify, waiting(target) as classify_too:
            callers = [Caller(way) for way in (classify, classify_too) for _ in range(2)]
            await asyncio.gather(*(caller.more(10) for caller in callers))
            assert all(answered(server) > 10 for server in servers)
            processes[0].send_signal(end)
            await asyncio.gather(*(caller.more(25) for caller in callers))
            await asyncio.gather(*(caller.stop() for caller in callers))
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@both
async def test_new_servers_are_found_as_connections_age(
    tiny: Path, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the chart has it. gRPC asks a name server twice in 30 s at most; here, more often."""
    often, options = ("grpc.dns_min_time_between_resolutions_ms", 50), channel.options
    monkeypatch.setattr(channel, "options", lambda *given: [*options(*given), often])
    aging = {"max_connection_age_s": 0.2}
    async with running_server(tiny, host=HERE, **aging) as old:
        port = old.grpc.port
        with name_server(HERE) as names:
            async with connect(names.target(port)) as classify:
                await classify()
                async with running_server(tiny, host=THERE, grpc_port=port, **aging) as new:
                    names.hosts.append(THERE)
                    while not new.metrics.registry.get_sample_value(
                        "serving_images_total", {"model": "tiny", "version": "1", "outcome": "ok"}
                    ):
                        await classify()
                    names.hosts.remove(THERE)
                    await classify()


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1"])
def test_a_missing_server_is_named_with_what_to_do(address: str) -> None:
    """Balancing or not."""
    with socket.socket() as free:
        free.bind((HERE, 0))
        address = f"{address}:{free.getsockname()[1]}"
        said = rf"no server answers at {address} .*make serve"
        with ClassifierClient(address) as client, pytest.raises(UnavailableError, match=said):
            client.list_models()


async def test_a_client_without_calls_closes_its_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before the server does it: a balancing client would open the connection again at once."""
    monkeypatch.setattr(channel, "IDLE_MS", 1000)
    states: list[grpc.ChannelConnectivity] = []
    is_idle = asyncio.Event()
    loop = asyncio.get_running_loop()

    def see(state: grpc.ChannelConnectivity) -> None:
        states.append(state)
        if state is grpc.ChannelConnectivity.IDLE and grpc.ChannelConnectivity.READY in states:
            loop.call_soon_threadsafe(is_idle.set)

    with scripted_server() as server, ClassifierClient(server.address) as client:
        client._channel.subscribe(see)
        await asyncio.to_thread(client.classify, [b"x"])
        await asyncio.wait_for(is_idle.wait(), 60)
        await asyncio.to_thread(client.classify, [b"x"])
