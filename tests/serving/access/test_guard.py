"""A real server with a token file: each role against each method and route, on both ports."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import grpc
import httpx
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry
from starlette.routing import Route

from protos import classifier_pb2 as pb
from protos.classifier_pb2_grpc import ClassifierStub
from serving.access import roles
from serving.access.guard import Guard
from serving.access.identity import Role
from serving.access.token_file import TokenFile
from serving.access.tokens import line, new_token
from serving.http.access import Doors
from serving.http.app import Application
from serving.server import Server
from tests.support.serving import running_server, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

METHODS = [f"/{service}/{name}" for service, names in roles.METHODS.items() for name in names]
REFUSED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
TOKENS = {role: new_token() for role in Role}
CLASSIFY, METRICS = "/resnext.serving.v1.Classifier/Classify", "/metrics"
# Nobody's, and each role's.
CALLERS = (None, *Role)


def bearer(token: str) -> str:
    return f"Bearer {token}"


@dataclass
class Guarded:
    """A server that asks who calls, and ways to call it."""

    server: Server
    path: Path
    channel: grpc.aio.Channel
    http: httpx.AsyncClient

    def refusals(self, reason: str) -> float:
        name, labels = "serving_access_refusals_total", {"reason": reason}
        return self.server.metrics.registry.get_sample_value(name, labels) or 0.0

    def begin(self, path: str, *authorization: str) -> "grpc.aio.StreamStreamCall[bytes, bytes]":
        """Send the headers of a call, and no message."""
        metadata = grpc.aio.Metadata(*(("authorization", value) for value in authorization))
        return self.channel.stream_stream(path)(metadata=metadata, timeout=30)

    async def refusal(self, path: str, *authorization: str) -> tuple[grpc.StatusCode, str]:
        """Return how a call ends that has sent its headers."""
        call = self.begin(path, *authorization)
        return await call.code(), await call.details()

    async def lets_in(self, path: str, *authorization: str) -> bool:
        """Whether the server would read what the call sends, which is nothing."""
        call = self.begin(path, *authorization)
        await call.done_writing()
        return await call.code() not in REFUSED

    async def get(self, path: str, *authorization: str) -> httpx.Response:
        return await self.http.get(path, headers=[("authorization", v) for v in authorization])


@pytest.fixture(scope="module")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("access") / "tokens"
    write(path, TOKENS)
    return path


def write(path: Path, tokens: dict[Role, str]) -> None:
    """Write a file that has each role under its own name, in the place of another."""
    new = path.with_suffix(".new")
    new.write_text("\n".join(line(role, token, role) for role, token in tokens.items()))
    new.chmod(0o600)
    new.rename(path)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tiny: Path, token_file: Path) -> AsyncIterator[Guarded]:
    async with running_server(tiny, token_file=token_file) as server:
        url = f"http://127.0.0.1:{server.http.port}"
        async with (
            grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc.port}") as channel,
            httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as http,
        ):
            yield Guarded(server, token_file, channel, http)


def routes(guarded: Guarded) -> Sequence[Route]:
    app = cast("Application", guarded.server.http.app)
    return cast("Sequence[Route]", app.routes)


@pytest.mark.parametrize(("path", "role"), [*itertools.product(METHODS, CALLERS)])
async def test_each_role_may_call_what_the_table_says(
    guarded: Guarded, path: str, role: Role | None
) -> None:
    authorization = [bearer(TOKENS[role])] if role else []
    need = roles.of_method(path)
    if not need or role in need:
        assert await guarded.lets_in(path, *authorization)
        return
    code, why = await guarded.refusal(path, *authorization)  # before any message has come
    assert code is (REFUSED[1] if role else REFUSED[0])
    if role:
        assert re.search(f"needs the role .*, and {role} has {role}$", why)
        assert all(each in why for each in need)


async def test_every_method_that_the_server_has_is_in_the_table(guarded: Guarded) -> None:
    assert sorted(guarded.server.grpc.methods) == sorted(METHODS)


async def test_every_route_that_the_server_has_is_in_the_table(guarded: Guarded) -> None:
    paths = {route.path for route in routes(guarded)}
    for part in roles.VERSION:
        paths = {path.replace(part, "") for path in paths}
    assert paths == {*roles.ROUTES}


async def test_a_route_that_is_not_in_the_table_ends_the_start(token_file: Path) -> None:
    registry = CollectorRegistry()
    guard = Guard(TokenFile(token_file, registry), registry)
    with pytest.raises(LookupError, match="/new"):
        Doors(guard, [Route("/new", lambda _: None)])
    with pytest.raises(LookupError, match="New"):
        guard.of_method("/resnext.serving.v1.Classifier/New")


@pytest.mark.parametrize("role", CALLERS)
async def test_each_role_may_ask_for_what_the_table_says(
    guarded: Guarded, role: Role | None
) -> None:
    headers = {"authorization": bearer(TOKENS[role])} if role else {}
    for route in routes(guarded):
        path = re.sub(r"{\w+}", "none", route.path)
        need = roles.of_route(route.path)
        for method in {*(route.methods or ())} - {"OPTIONS"}:
            # Only the head: the events of the page never end.
            async with guarded.http.stream(method, path, headers=headers) as answer:
                if not need or role in need:
                    assert answer.status_code not in (401, 403), (method, path)
                else:
                    assert answer.status_code == (403 if role else 401), (method, path)


@pytest.mark.parametrize("path", ["/nothing", "/v2/models/a/b/c", "/Metrics", "/web"])
async def test_whoever_is_not_known_learns_no_path(guarded: Guarded, path: str) -> None:
    assert (await guarded.get(path)).status_code == 401
    assert (await guarded.get(path, bearer(TOKENS[Role.READ]))).status_code == 404


@pytest.mark.parametrize(
    "target",
    [
        "/metr%69cs", "/metrics?x=/healthz", "http://x/metrics", "/metrics#/healthz", "/%6detrics",
        "/v2/models/st%61ts", "/v2/health/live/../../../metrics", "/metrics;/healthz",
    ],
)  # fmt: skip
async def test_no_spelling_of_a_path_goes_round_the_check(guarded: Guarded, target: str) -> None:
    head = f"GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    assert (await _raw(guarded, head)).split(" ", 2)[1] == "401"


async def _raw(guarded: Guarded, head: str) -> str:
    """Return what comes for the head of a request, and nothing else, until the server closes."""
    port = guarded.server.http.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode("latin-1"))
    async with asyncio.timeout(30):
        answer = await reader.read()
    writer.close()
    return answer.decode()


@pytest.mark.parametrize("expect", ["", "expect: 100-continue\r\n"])
async def test_http_refuses_before_a_body_has_come(guarded: Guarded, expect: str) -> None:
    head = f"POST /v1/classify HTTP/1.1\r\nhost: x\r\n{expect}content-length: 1000\r\n\r\n"
    answer = await _raw(guarded, head)
    assert answer.startswith("HTTP/1.1 401 ")
    assert "\r\nwww-authenticate: Bearer\r\n" in answer
    assert "Continue" not in answer


async def test_a_request_behind_another_one_is_asked_too(guarded: Guarded) -> None:
    known = f"GET /metrics HTTP/1.1\r\nhost: x\r\nauthorization: {bearer(TOKENS[Role.READ])}\r\n"
    answer = await _raw(guarded, f"{known}\r\nGET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
    assert answer.startswith("HTTP/1.1 200 ")
    assert answer.count("HTTP/1.1 ") == 1  # the server closes, as after every refusal


async def test_an_offer_of_http2_does_not_go_round_the_check(guarded: Guarded) -> None:
    offer = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAAA\r\n"
    answer = await _raw(guarded, f"GET /metrics HTTP/1.1\r\nhost: x\r\n{offer}\r\n")
    assert answer.startswith("HTTP/1.1 401 ")


GOOD = TOKENS[Role.CLASSIFY]
WRONG = [
    ("missing", []),
    ("unknown", [bearer(new_token())]),
    ("unknown", [bearer(GOOD[:-1])]),
    ("unknown", [bearer(GOOD + "x")]),
    ("unknown", [bearer(f"{GOOD} {GOOD}")]),
    ("unknown", [bearer(f"{GOOD},{GOOD}")]),
    ("malformed", [GOOD]),
    ("malformed", ["Bearer"]),
    ("malformed", ["Basic YWxpY2U6c2VjcmV0"]),
    ("malformed", [bearer(GOOD), bearer(GOOD)]),
    ("malformed", [bearer(new_token()), bearer(GOOD)]),
    ("unknown", [bearer("a" * 8000)]),
]


@pytest.mark.parametrize(("reason", "authorization"), WRONG)
async def test_headers_that_do_not_let_in(
    guarded: Guarded, reason: str, authorization: list[str]
) -> None:
    before = guarded.refusals(reason)
    code, why = await guarded.refusal(CLASSIFY, *authorization)
    assert code is grpc.StatusCode.UNAUTHENTICATED
    answer = await guarded.get("/v2", *authorization)
    assert (answer.status_code, answer.json()) == (401, {"error": why})
    assert answer.headers["www-authenticate"] == "Bearer"
    assert guarded.refusals(reason) == before + 2
    assert GOOD not in why


@pytest.mark.parametrize("value", ["bearer {}", "BEARER {}", "Bearer  {}", " Bearer {} "])
async def test_spellings_of_the_header_that_let_in(guarded: Guarded, value: str) -> None:
    assert await guarded.lets_in(CLASSIFY, value.format(GOOD))
    assert (await guarded.get("/v2", value.format(GOOD).strip())).status_code == 200


async def test_other_headers_are_no_credentials(guarded: Guarded) -> None:
    metadata = grpc.aio.Metadata(("authorization-bin", bearer(GOOD).encode()), ("cookie", GOOD))
    call = guarded.channel.stream_stream(CLASSIFY)(metadata=metadata, timeout=30)
    assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
    answer = await guarded.http.get(f"/metrics?access_token={GOOD}")
    assert answer.status_code == 401


async def test_bytes_that_are_no_text(guarded: Guarded) -> None:
    answer = await _raw(
        guarded, "GET /v2 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer \xff\r\n\r\n"
    )
    assert answer.startswith("HTTP/1.1 401 ")


async def test_what_browsers_ask_before_is_open(guarded: Guarded) -> None:
    answer = await guarded.http.options("/v1/classify")
    assert (answer.status_code, answer.headers["allow"]) == (204, "OPTIONS, POST, PUT")


async def test_whoever_may_is_answered(guarded: Guarded, tiny: Path) -> None:
    image = (tiny / "golden/ant_0.png").read_bytes()
    answer = await ClassifierStub(guarded.channel).Classify(
        pb.ClassifyRequest(images=[pb.Image(encoded=image)]),
        metadata=[("authorization", bearer(GOOD))],
        timeout=30,
    )
    assert answer.results[0].classes
    posted = await guarded.http.post(
        "/v1/classify", content=image, headers={"authorization": bearer(GOOD)}
    )
    assert posted.status_code == 200


async def test_tokens_are_exchanged_while_the_server_runs(guarded: Guarded) -> None:
    stream = guarded.begin("/resnext.serving.v1.Classifier/ClassifyStream", bearer(GOOD))
    new = {role: new_token() for role in Role}
    write(guarded.path, new)
    try:
        reads = guarded.server.metrics.registry.get_sample_value
        name, labels = "serving_token_file_reads_total", {"outcome": "ok"}
        before = 1.0
        await until(lambda: (reads(name, labels) or 0) > before)
        assert await guarded.lets_in(CLASSIFY, bearer(new[Role.CLASSIFY]))
        assert (await guarded.refusal(CLASSIFY, bearer(GOOD)))[0] is REFUSED[0]
        assert (await guarded.get(METRICS, bearer(new[Role.READ]))).status_code == 200
        assert (await guarded.get(METRICS, bearer(TOKENS[Role.READ]))).status_code == 401
        await stream.done_writing()  # a stream goes on that was open
        assert await stream.code() is grpc.StatusCode.OK
    finally:
        write(guarded.path, TOKENS)
        await until(lambda: (reads(name, labels) or 0) > before + 1)
