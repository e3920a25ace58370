"""What a replica holds, without Ray: its health, its HTTP, and settings that mean nothing to it."""

from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from bundle.store import BundleError
from deploy.ray.engine import Engine
from deploy.ray.http import HttpDoor
from deploy.ray.settings import read, within_share
from serving.errors import ProcessLostError, StartupError, UnavailableError
from tests.support.bundles import photo, spoil, write_bundle

photo(0).save(file := BytesIO(), "PNG")
PHOTO = file.getvalue()
QUICK = {"instances": 1, "buckets": (1, 2), "tuned": "off"}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_bundle(tmp_path)


@pytest.fixture
async def engine(tiny: Path) -> AsyncIterator[Engine]:
    engine = Engine(read({"model": [tiny], "max_message_bytes": 50_000} | QUICK))
    await engine.start()
    yield engine
    await engine.close()


def client(app: HttpDoor) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://replica")


async def test_it_answers_over_http_until_it_is_closed(tiny: Path) -> None:
    engine = Engine(read({"model": [tiny]} | QUICK))
    await engine.start()
    engine.check()
    async with client(engine.http) as asking:
        answer = await asking.post("/v1/classify", content=PHOTO)
        assert answer.status_code == 200
        assert answer.json()["results"][0]["classes"][0]["label"]
        assert (await asking.get("/readyz")).json() == {"ready": True, "models": {"tiny": True}}
        await engine.close()
        assert (await asking.post("/v1/classify", content=PHOTO)).status_code == 503


async def test_a_body_that_is_too_large_is_not_read_to_its_end(engine: Engine) -> None:
    pieces = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal pieces
        while True:
            pieces += 1
            yield bytes(10_000)

    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": await anext(body), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    body = endless()
    scope = {
        "type": "http", "method": "POST", "path": "/v1/classify", "query_string": b"",
        "headers": [], "root_path": "", "client": None,
    }  # fmt: skip
    await engine.http(scope, receive, send)
    assert sent[0]["status"] == 413
    assert b"more than 50000 bytes" in sent[1]["body"]
    assert pieces == 6


async def test_there_is_no_websocket() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def nothing(*_: Any) -> None:
        raise AssertionError

    await HttpDoor(nothing, 1)({"type": "websocket"}, nothing, send)  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close"}]


async def test_a_bundle_that_does_not_prove_itself_never_becomes_a_replica(tiny: Path) -> None:
    spoil(tiny)
    engine = Engine(read({"model": [tiny]} | QUICK))
    with pytest.raises(BundleError, match="golden"):
        await engine.start()
    with pytest.raises(UnavailableError):
        engine.check()
    await engine.close()


async def test_it_is_unhealthy_while_no_device_answers(engine: Engine) -> None:
    [model] = engine.models
    serving = model.batcher.serving
    model.batcher.serving = type(serving)()
    with pytest.raises(UnavailableError, match="no device answers"):
        engine.check()
    model.batcher.serving = serving
    engine.check()


async def test_it_is_unhealthy_for_good_once_its_process_has_lost_the_devices(
    engine: Engine,
) -> None:
    [model] = engine.models
    model.devices[0].runner.lost_process = ProcessLostError("cuda:0 is lost for this process")
    with pytest.raises(ProcessLostError, match="cuda:0 is lost"):
        engine.check()


@pytest.mark.parametrize("name", ["grpc_port", "token_file", "repository", "modle", "access_log"])
def test_a_setting_that_a_replica_has_not_is_an_error(tiny: Path, name: str) -> None:
    with pytest.raises(StartupError, match=f"a replica has no setting {name}: .* it has .*model"):
        read({"model": [tiny], name: "1"})


def test_a_setting_that_is_wrong_is_an_error(tiny: Path) -> None:
    with pytest.raises(StartupError, match=r"slo_ms: .*greater than 0"):
        read({"model": [tiny], "slo_ms": -1})
    with pytest.raises(StartupError, match="required: --model"):
        read({})


@pytest.mark.parametrize(
    ("settings", "cpus", "share"),
    [
        ({}, 4.0, {"instances": 4, "decode_threads": 0, "background_threads": 4}),
        ({}, 1.5, {"instances": 1, "decode_threads": 0, "background_threads": 1}),
        ({"threads": 2}, 4.0, {"instances": 2, "decode_threads": 4, "background_threads": 4}),
        ({"device": "cuda"}, 8.0, {"decode_threads": 8, "background_threads": 8}),
        ({"instances": 3}, 4.0, {"decode_threads": 0, "background_threads": 4}),
        ({}, 0.0, {}),
        ({}, 0.5, {}),
    ],
)
def test_a_replica_keeps_to_the_cpus_that_it_has_reserved(
    settings: dict[str, Any], cpus: float, share: dict[str, Any]
) -> None:
    assert within_share(settings, cpus) == share | settings
