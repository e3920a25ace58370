"""The HTTP server: its pages, and strangers who hold connections."""

import asyncio
import errno
import socket

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from starlette.applications import Starlette

from serving import http_connection
from serving.engine.repository import ModelRepository
from serving.errors import StartupError
from serving.http_server import LONGEST_HEADERS, RENDERINGS_PER_S, HttpServer, Page, create_app
from serving.lifecycle import Readiness
from serving.listener import listen
from serving.metrics import Metrics
from tests.support.serving import VirtualClock, until

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture
def app() -> Starlette:
    metrics = Metrics(CollectorRegistry())
    return create_app(metrics.registry, Readiness(metrics.ready), ModelRepository())


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_every_interface_is_that_of_ipv4_too(address: str) -> None:
    server = HttpServer(Starlette(), "::", 0)
    async with server.listening():
        socket.create_connection((address, server.port), timeout=10).close()


def test_a_port_that_is_not_permitted_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied (while attempting to bind on 80)")

    monkeypatch.setattr(socket, "create_server", refuse)
    message = r"on 127\.0\.0\.1:80 for gRPC: Permission denied; choose others with --grpc-port and"
    with pytest.raises(StartupError, match=message):
        listen("127.0.0.1", 80, "gRPC", "--grpc-port")


def test_a_host_that_is_no_name_is_named() -> None:
    with pytest.raises(StartupError, match=f"cannot listen on {'x' * 100}:0 for HTTP: "):
        listen("x" * 100, 0, "HTTP", "--http-port")


async def test_metrics_come_as_openmetrics_if_asked_for(app: Starlette) -> None:
    accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5"
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        answer = await client.get("/metrics", headers={"accept": accept})
        assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.")
        families = {family.name for family in text_string_to_metric_families(answer.text)}
        assert {"serving_ready", "serving_log_lines_dropped"} <= families
        plain = await client.get("/metrics")
        assert plain.headers["content-type"].startswith("text/plain")
        assert not plain.text.endswith("# EOF\n")


def test_a_page_is_fresh_until_it_is_asked_for_too_often() -> None:
    clock, counter = VirtualClock(), Counter("asked", "", registry=None)
    asked: list[int] = []

    def render() -> bytes:
        asked.append(1)
        counter.inc()
        return str(len(asked)).encode()

    page = Page(render, "text/plain", clock)
    for number in range(1, RENDERINGS_PER_S + 1):
        assert page.content() == str(number).encode()
    clock.now += 0.9
    assert {page.content() for _ in range(500)} == {str(RENDERINGS_PER_S).encode()}
    clock.now += 0.2
    assert page.content() == str(RENDERINGS_PER_S + 1).encode()


async def answer(port: int, *parts: bytes) -> bytes:
    """Send parts of a request; return all that the server says until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
    try:
        return await reader.read()
    except ConnectionResetError:
        return b"reset"
    finally:
        writer.close()


async def test_a_connection_has_one_answer(app: Starlette) -> None:
    server = HttpServer(app, "127.0.0.1", 0)
    async with server.listening(), asyncio.timeout(60):
        said = await answer(server.port, GET, b"\r\n")
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in head.splitlines()
    assert body == b'{"alive":true}'


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (GET,),
        (GET, b"Content-Length: 1000\r\n\r\nbegin"),
        (b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n",),
    ],
)
async def test_a_connection_does_not_outlive_its_time(
    parts: tuple[bytes, ...], app: Starlette, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "LIFETIME_S", 0.05)
    server = HttpServer(app, "127.0.0.1", 0)
    async with server.listening(), asyncio.timeout(60):
        await answer(server.port, *parts)  # it ends


async def test_long_headers_are_refused(app: Starlette) -> None:
    server = HttpServer(app, "127.0.0.1", 0)
    async with server.listening(), asyncio.timeout(60):
        said = await answer(server.port, GET, b"X: " + b"x" * (LONGEST_HEADERS + 1))
    assert said.startswith(b"HTTP/1.1 400 ") or said == b"reset"


async def test_idle_connections_keep_no_probe_out(
    app: Starlette, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "MAX_CONNECTIONS", 8)
    server = HttpServer(app, "127.0.0.1", 0)
    open_connections = server._server.server_state.connections
    async with server.listening(), asyncio.timeout(60):
        idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(20)]
        await until(lambda: len(open_connections) == 8)
        assert b" 200 OK" in await answer(server.port, GET, b"\r\n")
        # The oldest were closed.
        for reader, _ in idle[:12]:
            assert await reader.read() == b""
        for _, writer in idle:
            writer.close()
