"""The tests of HTTP's images once more, with a front end: callers must see no difference."""

import inspect
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NoReturn

import httpx
import pytest
import pytest_asyncio

from serving.engine.sources import Encoded, Raw, Ready
from serving.server import Server
from tests.serving.api.messages import png
from tests.serving.http import test_classify, test_inference, test_pixels
from tests.serving.http.conftest import http_to
from tests.support.serving import running_server

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


def _borrowed() -> Iterator[tuple[str, object]]:
    """Yield the tests that need a server, under names that tell the routes apart."""
    for module in (test_classify, test_inference, test_pixels):
        kind = module.__name__.rpartition(".")[2]
        for name, test in vars(module).items():
            if not name.startswith("test_"):
                continue
            if inspect.signature(test).parameters.keys() & {"server", "client", "tiny"}:
                yield f"{kind}_{name.removeprefix('test_')}", test


globals().update(_borrowed())
image = test_pixels.image


@pytest.fixture(autouse=True, scope="module")
def _front_end() -> Iterator[None]:
    """Have all servers decode in another process, and only there."""

    def refuse(*_: object) -> NoReturn:
        raise AssertionError("the engine process decodes")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SERVING_FRONTENDS", "1")
        for source in (Encoded, Raw, Ready):
            patch.setattr(source, "pixels", refuse)
        yield


async def test_stages_add_up_to_the_whole(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/classify", content=png(1).encoded)
    timing = answer.json()["results"][0]["timing"]
    stages = [timing[f"{stage}_ms"] for stage in ("admission", "decode", "queue", "infer")]
    assert min(stages) >= 0
    assert timing["decode_ms"] > 0
    assert sum(stages) == pytest.approx(timing["total_ms"], abs=0.01)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(_front_end: None, tiny: Path) -> AsyncIterator[Server]:
    """A server of the small bundle."""
    async with running_server(tiny) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """A client of it."""
    async with http_to(server) as calls:
        yield calls
