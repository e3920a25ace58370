"""What the server tells once a second of what it does."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.http.watch import sampler
from serving.http.watch.reading import quantile
from serving.server import Server
from serving.tallies import SECONDS
from tests.serving.http.conftest import http_to
from tests.support.bundles import photo
from tests.support.serving import running_server, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


def png() -> bytes:
    """An image file."""
    from io import BytesIO

    file = BytesIO()
    photo(1).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds are short."""
    monkeypatch.setattr(sampler, "INTERVAL_S", 0.02)


async def samples(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in response.aiter_lines():
        if line:
            yield json.loads(line.removeprefix("data: "))


def viewers(server: Server) -> float | None:
    return server.metrics.registry.get_sample_value("serving_watch_viewers")


async def test_it_tells_what_models_do(client: httpx.AsyncClient, server: Server) -> None:
    async with client.stream("GET", "/v1/watch") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        found = samples(response)
        first = await anext(found)
        assert first["viewers"] == 1
        assert first["models"][0]["images"]["ok"] == 0
        assert (await client.post("/v1/classify", content=png())).status_code == 200
        assert (await client.post("/v1/classify", content=b"no image")).status_code == 400
        told = await collect(found)
    assert sum(model["images"]["ok"] * seconds for model, seconds in told) == pytest.approx(1, 0.1)
    assert sum(model["images"]["invalid"] > 0 for model, _ in told) == 1
    assert sum(model["goodput"] > 0 for model, _ in told) == 1
    assert sum(model["batches"]["device_free"] > 0 for model, _ in told) == 1
    assert [model["batch_sizes"] for model, _ in told if model["batch_sizes"]] == [{"1": 1}]
    assert sum(model["stages"]["total"]["p99_ms"] is not None for model, _ in told) == 1
    devices = [device for model, _ in told for device in model["devices"]]
    assert all(device["ready"] for device in devices)
    assert sum(device["images"] > 0 for device in devices) == 1
    await until(lambda: viewers(server) == 0)


async def collect(found: AsyncIterator[dict[str, Any]]) -> list[tuple[dict[str, Any], float]]:
    """Return the samples of the small model until an image was answered, and another not."""
    told: list[tuple[dict[str, Any], float]] = []
    seen: set[str] = set()
    async for sample in found:
        [model] = sample["models"]
        told.append((model, sample["seconds"]))
        seen |= {outcome for outcome, rate in model["images"].items() if rate}
        if seen == {"ok", "invalid"}:
            return told
    raise AssertionError("the stream has ended")


async def test_all_viewers_get_the_same_and_nothing_happens_without(tiny: Path) -> None:
    async with running_server(tiny) as server, http_to(server) as client:
        async with (
            client.stream("GET", "/v1/watch") as one,
            client.stream("GET", "/v1/watch") as two,
        ):
            some = samples(one)
            seen = [await anext(some) for _ in range(3)]
            others = samples(two)
            also = [await anext(others) for _ in range(3)]
            assert viewers(server) == 2
            assert also == seen
        await until(lambda: viewers(server) == 0)
        tasks = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}  # type: ignore[union-attr]
        assert "Sampler._run" not in tasks
        # Who comes later sees what was kept.
        async with client.stream("GET", "/v1/watch") as later:
            assert await anext(samples(later)) == seen[0]


async def test_there_are_only_so_many(
    client: httpx.AsyncClient, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "MOST_VIEWERS", 1)
    async with client.stream("GET", "/v1/watch") as one:
        await anext(samples(one))
        refused = await client.get("/v1/watch")
        assert refused.status_code == 429
        assert "viewers watch, which is the most" in refused.json()["error"]
    await until(lambda: viewers(server) == 0)


async def test_it_ends_when_the_server_drains(tiny: Path) -> None:
    # Not for as long as the grace period, which would hold up everything.
    async with running_server(tiny, grace_period_s=600) as server, http_to(server) as client:
        async with client.stream("GET", "/v1/watch") as response:
            found = samples(response)
            await anext(found)
            async with asyncio.timeout(60):
                await server.drain()
            [_ async for _ in found]  # it ends
        assert (await client.get("/v1/watch")).status_code == 503


async def test_nobody_keeps_a_seat(
    client: httpx.AsyncClient, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "LONGEST_S", 0.2)
    async with asyncio.timeout(60), client.stream("GET", "/v1/watch") as response:
        assert [sample async for sample in samples(response)]  # it ends
    await until(lambda: viewers(server) == 0)


async def test_head_is_no_viewer(client: httpx.AsyncClient, server: Server) -> None:
    head = await client.head("/v1/watch")
    assert head.headers["content-type"].startswith("text/event-stream")
    assert "content-length" not in head.headers
    assert viewers(server) == 0


@pytest.mark.parametrize(
    ("counts", "share", "expected_s"),
    [
        ({0.002: 10}, 0.5, 0.0015),
        ({0.001: 50, 0.01: 50}, 0.5, 0.001),
        ({0.001: 90, 0.01: 10}, 0.99, 0.0095),
        ({10.0: 1}, 0.99, 9.95),
        ({11.0: 1}, 0.5, 10.0),
        ({}, 0.5, None),
    ],
)
async def test_quantiles(counts: dict[float, int], share: float, expected_s: float | None) -> None:
    bounds = (*SECONDS, float("inf"))
    cumulated = [sum(n for most, n in counts.items() if most <= bound) for bound in bounds]
    found = quantile(cumulated, share)
    assert found == (expected_s if expected_s is None else pytest.approx(expected_s))
