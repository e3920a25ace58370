"""The HTTP server: what operators look at, and strangers who hold connections."""

import asyncio
import errno
import socket

import httpx
import pytest
from prometheus_client import Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from serving.errors import StartupError
from serving.http.app import Application
from serving.http.operations import RENDERINGS_PER_S, Page
from serving.http.server import HttpServer
from serving.http.traffic import HttpBounds
from serving.listener import listen
from tests.serving.http.raw import GET, answer, read_answer
from tests.support.serving import VirtualClock, until


def without_id(head: bytes) -> list[bytes]:
    return [line for line in head.splitlines() if not line.startswith(b"x-request-id: ")]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_every_interface_is_that_of_ipv4_too(app: Application, address: str) -> None:
    server = HttpServer(app, "::", 0)
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


async def test_metrics_come_as_openmetrics_if_asked_for(app: Application) -> None:
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


async def test_a_connection_has_many_answers(app: Application) -> None:
    server = HttpServer(app, "127.0.0.1", 0)
    async with server.listening(), asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for _ in range(3):
            writer.write(GET + b"\r\n")
            head, body = await read_answer(reader)
            assert head.startswith(b"HTTP/1.1 200 OK")
            assert b"connection: close" not in head.splitlines()
            assert body == b'{"alive":true}'
        writer.write(2 * (GET + b"\r\n"))  # the second is sent before the first is answered
        answers = [await read_answer(reader) for _ in range(2)]
        assert [without_id(head) for head, _ in answers] == 2 * [without_id(head)]
        assert [body for _, body in answers] == 2 * [body]
        writer.close()


async def test_large_bodies_follow_each_other(app: Application) -> None:
    server = HttpServer(app, "127.0.0.1", 0)
    async with server.listening(), asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for _ in range(20):
            writer.write(GET + b"Content-Length: 50000\r\n\r\n" + bytes(50_000))
            assert (await read_answer(reader))[0].startswith(b"HTTP/1.1 200 OK")
        writer.close()


async def test_an_offer_of_http2_is_passed_over(app: Application) -> None:
    server = HttpServer(app, "127.0.0.1", 0)
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
    async with server.listening(), asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for last in (b"", b"Connection: close\r\n"):
            writer.write(GET + offer + last + b"Content-Length: 4\r\n\r\nbo")
            await asyncio.sleep(0)
            writer.write(b"dy")
            head, _ = await read_answer(reader)
            assert head.startswith(b"HTTP/1.1 200 OK")
        assert b"connection: close" in head.splitlines()
        assert await reader.read() == b""
        writer.close()


CHUNKED = b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
SLOW = HttpBounds(idle_s=0.05, head_s=0.05, patience_s=0.05, linger_s=0.05)


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ((), b""),
        ((GET,), b" 408 "),
        ((GET, b"Content-Length: 1000\r\n\r\nbegin"), b" 408 "),
        ((CHUNKED + b"5\r\nbegin\r\n",), b" 408 "),
        ((GET, b"\r\n"), b" 200 "),
    ],
)
async def test_a_connection_does_not_outlive_its_time(
    parts: tuple[bytes, ...], code: bytes, app: Application
) -> None:
    server = HttpServer(app, "127.0.0.1", 0, SLOW)
    async with server.listening(), asyncio.timeout(60):
        said = await answer(server.port, *parts)  # it ends
    assert code in said.partition(b"\r\n")[0]
    assert server.traffic.held == 0


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (GET + b"X: " + b"x" * 40_000, b"431"),
        (GET + b"X: 1\r\n" * 1000 + b"\r\n", b"431"),
        (b"GET /" + b"x" * 40_000, b"431"),
        (CHUNKED + b"0\r\n" + b"X: 1\r\n" * 1000, b"431"),
        (CHUNKED + b"0\r\nX: " + b"x" * 40_000, b"431"),
        (CHUNKED + b"5;" + b"x" * 40_000, b"431"),
        (GET + b"Content-Length: 1001\r\n\r\n", b"413"),
        (CHUNKED + b"3e9\r\n" + b"x" * 1001, b"413"),
        (CHUNKED + b"1\r\nx\r\n" * 1002, b"413"),
        (b"rubbish\r\n\r\n", b"400"),
        (b"GET /healthz HTTP/1.1\r\n\r\n", b"400"),
        (GET + b"Host: y\r\n\r\n", b"400"),
        (CHUNKED.replace(b"chunked", b"gzip, chunked"), b"501"),
        (CHUNKED.replace(b"chunked", b"gzip\r\nTransfer-Encoding: chunked"), b"501"),
        (b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n", b"501"),
        (b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", b"400"),
    ],
)
async def test_what_is_too_much_is_refused(sent: bytes, code: bytes, app: Application) -> None:
    server = HttpServer(app, "127.0.0.1", 0, HttpBounds(body_bytes=1000, linger_s=0.05))
    async with server.listening(), asyncio.timeout(60):
        parts = (sent[at : at + 15_000] for at in range(0, len(sent), 15_000))
        said = await answer(server.port, *parts)
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.split()[1] == code
    assert b"connection: close" in head.splitlines()
    assert body.startswith(b'{"error":"')
    assert server.traffic.held == 0


async def test_a_body_in_crumbs_is_refused(app: Application) -> None:
    server = HttpServer(app, "127.0.0.1", 0)
    async with server.listening(), asyncio.timeout(60):
        said = await answer(server.port, CHUNKED + b"1\r\nx\r\n" * 1100)
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"too many pieces" in said


async def test_a_body_in_many_pieces_is_whole() -> None:
    async def echo(request: Request) -> Response:
        return Response(await request.body())

    app = Application([Route("/healthz", echo, methods=["POST"])])
    server = HttpServer(app, "127.0.0.1", 0)
    pieces = [b"%064d" % number for number in range(2500)]
    async with server.listening(), asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(CHUNKED + b"".join(b"40\r\n%s\r\n" % piece for piece in pieces) + b"0\r\n\r\n")
        assert (await read_answer(reader))[1] == b"".join(pieces)
        writer.close()


async def test_the_oldest_of_too_many_bodies_is_refused(app: Application) -> None:
    server = HttpServer(app, "127.0.0.1", 0, HttpBounds(transfer_bytes=1500))
    head = GET + b"Content-Length: 1000\r\n\r\n"
    async with server.listening(), asyncio.timeout(60):
        oldest, oldest_writer = await asyncio.open_connection("127.0.0.1", server.port)
        oldest_writer.write(head + b"x" * 999)
        await until(lambda: server.traffic.held == 999)
        newer, newer_writer = await asyncio.open_connection("127.0.0.1", server.port)
        newer_writer.write(head + b"x" * 999)
        assert b" 503 " in (await oldest.read()).splitlines()[0]
        newer_writer.write(b"x")
        assert b" 200 " in (await read_answer(newer))[0]
        assert server.traffic.held == 0
        for writer in (oldest_writer, newer_writer):
            writer.close()


async def test_a_body_that_waits_behind_an_answer_is_counted() -> None:
    may_answer = asyncio.Event()

    async def slow(_: Request) -> Response:
        await may_answer.wait()
        return Response(b"slow")

    async def size(request: Request) -> Response:
        return Response(b"%d" % len(await request.body()))

    routes = [Route("/healthz", slow), Route("/size", size, methods=["POST"])]
    server = HttpServer(Application(routes), "127.0.0.1", 0, HttpBounds(transfer_bytes=1500))
    behind = b"POST /size HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000
    async with server.listening(), asyncio.timeout(60):
        oldest, oldest_writer = await asyncio.open_connection("127.0.0.1", server.port)
        oldest_writer.write(GET + b"\r\n" + behind)
        await until(lambda: server.traffic.held == 1000)
        [connection] = server._server.server_state.connections
        newer, newer_writer = await asyncio.open_connection("127.0.0.1", server.port)
        newer_writer.write(GET + b"\r\n" + behind)
        await until(lambda: connection.held == 0)
        assert not connection.cycle.body
        assert server.traffic.held == 1000
        may_answer.set()
        assert (await read_answer(oldest))[1] == b"slow"
        assert await oldest.read() == b""  # the other answer it has lost
        assert [(await read_answer(newer))[1] for _ in range(2)] == [b"slow", b"1000"]
        assert server.traffic.held == 0
        for writer in (oldest_writer, newer_writer):
            writer.close()


async def test_who_has_sent_half_when_the_server_ends_is_told(app: Application) -> None:
    server = HttpServer(app, "127.0.0.1", 0)
    async with asyncio.timeout(60):
        async with server.listening():
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(GET + b"Content-Length: 5\r\n\r\nha")
            await until(lambda: server.traffic.held == 2)
        assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
        writer.close()


async def test_a_trailer_is_no_header() -> None:
    async def told(request: Request) -> Response:
        await request.body()
        return Response(request.headers.get("x-told", "nothing").encode())

    app = Application([Route("/healthz", told, methods=["POST"])])
    server = HttpServer(app, "127.0.0.1", 0)
    async with server.listening(), asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(CHUNKED + b"0\r\nX-Told: secret\r\n\r\n")
        assert (await read_answer(reader))[1] == b"nothing"
        writer.close()


async def test_a_client_that_asks_is_told_to_go_on(app: Application) -> None:
    server = HttpServer(app, "127.0.0.1", 0, HttpBounds(body_bytes=1000))
    async with server.listening(), asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(GET + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"whole")
        assert (await read_answer(reader))[0].startswith(b"HTTP/1.1 200 ")
        writer.write(GET + b"Expect: 100-continue\r\nContent-Length: 1001\r\n\r\n")
        assert (await read_answer(reader))[0].startswith(b"HTTP/1.1 413 ")
        writer.close()


async def test_a_client_that_does_not_read_its_answer_loses_it() -> None:
    async def large(_: Request) -> Response:
        return Response(bytes(2**25))  # more than the kernel holds

    large_app = Application([Route("/", large)])
    server = HttpServer(large_app, "127.0.0.1", 0, HttpBounds(patience_s=0.05))
    async with server.listening(), asyncio.timeout(60):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: server._server.server_state.total_requests == 1)
            await until(lambda: not server._server.server_state.connections)


async def test_too_many_requests_at_once_end_their_connection(app: Application) -> None:
    server = HttpServer(app, "127.0.0.1", 0)
    async with server.listening(), asyncio.timeout(60):
        said = await answer(server.port, 100 * (GET + b"\r\n"))
    assert said.count(b"200 OK") <= server.traffic.bounds.pipelined + 1


async def test_idle_connections_keep_no_probe_out(app: Application) -> None:
    server = HttpServer(app, "127.0.0.1", 0, HttpBounds(connections=8))
    open_connections = server._server.server_state.connections
    async with server.listening(), asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(GET + b"Content-Length: 5\r\n\r\n")  # the oldest, but not idle
        await until(lambda: len(open_connections) == 1)
        idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(20)]
        await until(lambda: len(open_connections) == 8)
        assert b" 200 OK" in await answer(server.port, GET, b"Connection: close\r\n\r\n")
        writer.write(b"whole")
        assert (await read_answer(reader))[0].startswith(b"HTTP/1.1 200 ")
        # The oldest were closed.
        for other, _ in idle[:13]:
            assert await other.read() == b""
        for _, other_writer in [*idle, (reader, writer)]:
            other_writer.close()


async def test_half_heads_keep_no_new_connection_out(app: Application) -> None:
    server = HttpServer(app, "127.0.0.1", 0, HttpBounds(connections=4))
    async with server.listening(), asyncio.timeout(60):
        receiving = [await _half_head(server) for _ in range(3)]
        new_reader, new_writer = await asyncio.open_connection("127.0.0.1", server.port)
        await until(lambda: len(server._server.server_state.connections) == 4)
        receiving += [await _half_head(server) for _ in range(3)]
        new_writer.write(GET + b"\r\n")
        assert (await read_answer(new_reader))[0].startswith(b"HTTP/1.1 200 ")
        for writer in (new_writer, *receiving):
            writer.close()


async def _half_head(server: HttpServer) -> asyncio.StreamWriter:
    """Send half of a head; return when the server has it."""
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    address = writer.get_extra_info("sockname")
    writer.write(GET)

    def has_come() -> bool:
        return any(
            c.in_head and c.client == address for c in server._server.server_state.connections
        )

    await until(has_come)
    return writer
