"""What the network sees of an image, and the models that see."""

import asyncio
import io
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from serving.http import pixels
from tests.serving.http.conftest import http_to
from tests.support.bundles import LABELS, TRANSFORM
from tests.support.serving import running_server

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def image(tiny: Path) -> bytes:
    return (tiny / "golden/ant_0.png").read_bytes()


async def test_they_are_those_that_are_classified(client: httpx.AsyncClient, image: bytes) -> None:
    for answer in (
        await client.post("/v1/pixels", content=image),
        await client.put("/v1/pixels?model=tiny&version=1", content=image),
    ):
        assert answer.headers["content-type"] == "image/png"
        seen = np.asarray(Image.open(io.BytesIO(answer.content)))
        assert (seen == TRANSFORM.decode(image)).all()


@pytest.mark.parametrize(
    ("query", "content", "code", "why"),
    [
        ("", b"no image", 400, "8 bytes are not an image"),
        ("", b"", 400, "empty"),
        ("?model=none", b"", 404, "there is no model 'none'"),
        ("?model=tiny&version=9", b"", 404, "no version '9'"),
        ("?modl=tiny", b"", 400, "there is no parameter `modl`"),
    ],
)
async def test_what_cannot_be_shown(
    client: httpx.AsyncClient, query: str, content: bytes, code: int, why: str
) -> None:
    answer = await client.post(f"/v1/pixels{query}", content=content)
    assert answer.status_code == code
    assert why in answer.json()["error"]


async def test_an_image_may_cost_no_more_than_elsewhere(tiny: Path, image: bytes) -> None:
    settings = {"max_image_pixels": 1199, "instances": 1, "buckets": [1]}
    async with running_server(tiny, **settings) as server, http_to(server) as client:
        answers = [
            await client.post(f"/v1/{what}", content=image) for what in ("pixels", "classify")
        ]
        assert {answer.status_code for answer in answers} == {400}
        assert "max_image_pixels allows at most 1199" in answers[0].json()["error"]
        assert answers[0].json() == answers[1].json()


async def test_one_image_at_a_time_is_decoded_and_none_too_late(
    client: httpx.AsyncClient, image: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = threading.Semaphore(0), threading.Event()

    def slow(*_: object) -> bytes:
        begun.release()
        assert may_end.wait(30)
        return b"png"

    monkeypatch.setattr(pixels, "_png", slow)
    first = asyncio.create_task(client.post("/v1/pixels", content=image))
    assert await asyncio.to_thread(begun.acquire, timeout=30)
    soon = {"x-request-timeout-ms": "50"}
    late = await client.post("/v1/pixels", content=image, headers=soon)
    assert late.status_code == 504
    assert late.json() == {"error": pixels.LATE}
    assert not begun.acquire(blocking=False)  # it has not begun
    may_end.set()
    assert (await first).content == b"png"


async def test_the_loaded_models(client: httpx.AsyncClient) -> None:
    [model] = (await client.get("/v1/models")).json()["models"]
    assert (model["name"], model["version"], model["labels"]) == ("tiny", "1", LABELS)
    assert (model["height"], model["width"]) == (TRANSFORM.crop.height, TRANSFORM.crop.width)
    assert (model["precision"], model["ready"], model["task"]) == ("fp32", True, "multiclass")
