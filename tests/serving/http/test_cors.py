"""Pages of other origins in a browser: what they are told they may do."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from serving.http.cors import METHODS, READ
from serving.server import Server
from tests.serving.http.conftest import http_to
from tests.serving.http.raw import GET, answer
from tests.support.bundles import SIDE
from tests.support.serving import listening_server, running_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = "https://page.example.com"
ORIGIN = {"origin": PAGE}
ALLOW = "access-control-allow-origin"
ASKS = {
    **ORIGIN,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-request-timeout-ms,traceparent",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def closed(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server that one page may call, if the caller has a token."""
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text("cert:nobody read\n")
    tokens.chmod(0o600)
    settings = {"cors_origins": f"{PAGE},http://localhost:3000", "token_file": tokens}
    async with listening_server(tiny, max_message_bytes=1000, **settings) as running:
        yield running


async def test_pages_may_call_every_route(server: Server) -> None:
    assert {method for route in server.http.app.routes for method in route.methods} <= {*METHODS}


async def test_no_page_may_call_unless_it_is_named(server: Server, closed: Server) -> None:
    for other, headers in ((server, ASKS), (closed, {**ASKS, "origin": "https://evil.example"})):
        async with http_to(other) as client:
            for answered in (
                await client.options("/v1/classify", headers=headers),
                await client.get("/healthz", headers=headers),
                await client.get("/metrics", headers=headers),
            ):
                assert ALLOW not in answered.headers


async def test_a_browser_asks_without_a_token(closed: Server) -> None:
    async with http_to(closed) as client:
        answered = await client.options("/v1/classify", headers=ASKS)
        assert answered.status_code == 200
        assert answered.headers[ALLOW] == PAGE
        assert "POST" in answered.headers["access-control-allow-methods"]
        allowed = answered.headers["access-control-allow-headers"].lower()
        assert set(ASKS["access-control-request-headers"].split(",")) <= {*allowed.split(", ")}
        for method in METHODS:
            asked = {**ASKS, "access-control-request-method": method}
            assert (await client.options("/v1/classify", headers=asked)).status_code == 200
        strange = {**ASKS, "access-control-request-headers": "x-strange"}
        assert (await client.options("/v1/classify", headers=strange)).status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "headers", "code"),
    [
        ("GET", "/healthz", {}, 200),
        ("GET", "/metrics", {}, 401),
        ("DELETE", "/healthz", {}, 405),
        ("POST", "/healthz", {"content-length": "1000000"}, 413),
        ("GET", "/healthz", {"x": "x" * 20_000}, 431),
        ("GET", "/readyz", {}, 503),
    ],
)
async def test_a_page_may_read_every_answer(
    method: str, path: str, headers: dict[str, str], code: int, closed: Server
) -> None:
    async with http_to(closed) as client:
        size = int(headers.get("content-length", 0))
        headers = {**ORIGIN, **headers}
        answered = await client.request(method, path, headers=headers, content=bytes(size))
        assert answered.status_code == code
        assert answered.headers[ALLOW] == PAGE
        assert answered.headers["vary"] == "Origin"
        exposed = answered.headers["access-control-expose-headers"]
        assert {*exposed.split(", ")} == {*READ}


async def test_what_is_no_request_is_refused_as_ever(closed: Server) -> None:
    assert (await answer(closed.http.port, b"rubbish\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
    refused = await answer(closed.http.port, GET + b"Origin: \xff\r\nX: " + b"x" * 20_000)
    assert refused.startswith(b"HTTP/1.1 431 ")


async def test_all_pages_may_call_if_all_are_allowed(tiny: Path) -> None:
    async with running_server(tiny, cors_origins="*") as server, http_to(server) as client:
        image = bytes(SIDE)
        for answered in (
            await client.options("/v1/classify", headers=ASKS),
            await client.post("/v1/classify", headers=ORIGIN, content=image),
            await client.post("/v1/classify", headers=ORIGIN),
        ):
            assert answered.headers[ALLOW] == "*"
