"""The files of the page, and that there need be none."""

from pathlib import Path

import httpx
import pytest

from serving.http.page import FOLDER
from tests.serving.http.conftest import http_to
from tests.support.serving import running_server

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_page_and_its_files(client: httpx.AsyncClient) -> None:
    page = await client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for path in FOLDER.rglob("*.*"):
        answer = await client.get(f"/web/{path.relative_to(FOLDER)}")
        assert answer.content == path.read_bytes()
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    script = await client.get("/web/main.js")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"


async def test_a_browser_keeps_what_has_not_changed(client: httpx.AsyncClient) -> None:
    first = await client.get("/web/main.js")
    assert first.headers["cache-control"] == "no-cache"
    for known in (f"W/{first.headers['etag']}", "*"):
        again = await client.get("/web/main.js", headers={"if-none-match": known})
        assert (again.status_code, again.content) == (304, b"")
    other = await client.get("/web/main.js", headers={"if-none-match": '"other"'})
    assert other.content == first.content


@pytest.mark.parametrize(
    "path", ["/web/", "/web/nothing.js", "/web/../page.py", "/web/%2e%2e/page.py"]
)
async def test_nothing_else_is_there(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 404
    assert "there is no /" in answer.json()["error"]


async def test_there_need_be_no_page(tiny: Path) -> None:
    settings = {"page": "off", "instances": 1, "buckets": [1]}
    async with running_server(tiny, **settings) as server, http_to(server) as client:
        for path in ("/", "/web/main.js"):
            assert (await client.get(path)).status_code == 404
        assert (await client.get("/v1/models")).status_code == 200
