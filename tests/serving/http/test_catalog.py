"""The Open Inference Protocol over HTTP, as its clients speak it: all but inference."""

from pathlib import Path

import httpx
import pytest

from serving.lifecycle import State
from serving.server import Server
from tests.serving.http.conftest import http_to
from tests.support.bundles import LABELS, SIDE
from tests.support.serving import listening_server

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_health(client: httpx.AsyncClient, server: Server) -> None:
    assert (await client.get("/v2/health/live")).json() == {"live": True}
    assert (await client.get("/v2/health/ready")).json() == {"ready": True}
    for path in ("/v2/models/tiny/ready", "/v2/models/tiny/versions/1/ready"):
        assert (await client.get(path)).json() == {"name": "tiny", "ready": True}
    server.readiness.enter(State.DRAINING)
    try:
        for path in ("/v2/health/ready", "/v2/models/tiny/ready"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["ready"]) == (503, False)
            assert answer.headers["retry-after"] == "1"
        assert (await client.get("/v2/health/live")).status_code == 200
    finally:
        server.readiness.enter(State.SERVING)


async def test_nothing_is_ready_while_the_server_loads(tiny: Path) -> None:
    async with listening_server(tiny) as server, http_to(server) as client:
        assert (await client.get("/v2/health/live")).status_code == 200
        assert (await client.get("/v2/health/ready")).status_code == 503
        for path in ("/v2/models/tiny/ready", "/v2/models/tiny", "/v2/models/tiny/config"):
            answer = await client.get(path)
            assert answer.status_code == 503
            assert "loading" in answer.json()["error"]


async def test_the_server_and_its_models(client: httpx.AsyncClient) -> None:
    told = (await client.get("/v2")).json()
    assert {*told} == {"name", "version", "extensions"}
    assert {"binary_tensor_data", "classification", "statistics"} <= {*told["extensions"]}
    assert (await client.get("/v2/models")).json() == {"models": ["tiny", "tiny_pixels"]}


async def test_what_a_model_takes(client: httpx.AsyncClient) -> None:
    told = (await client.get("/v2/models/tiny")).json()
    assert (told["name"], told["versions"]) == ("tiny", ["1"])
    assert told["inputs"] == [{"name": "images", "datatype": "BYTES", "shape": [-1, 1]}]
    output = {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(LABELS)]}
    assert told["outputs"] == [output]
    told = (await client.get("/v2/models/tiny_pixels/versions/1")).json()
    seen = [-1, SIDE, SIDE, 3]
    assert told["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": seen}]


async def test_how_a_model_is_served(client: httpx.AsyncClient) -> None:
    for path in ("/v2/models/tiny_pixels/config", "/v2/models/tiny_pixels/versions/1/config"):
        told = (await client.get(path)).json()
        [taken], [given] = told["input"], told["output"]
        assert told["max_batch_size"] == 128
        assert (taken["data_type"], taken["format"]) == ("TYPE_UINT8", "FORMAT_NHWC")
        assert taken["dims"] == [SIDE, SIDE, 3]
        assert (given["data_type"], given["dims"]) == ("TYPE_FP32", [len(LABELS)])


async def test_what_models_have_done(client: httpx.AsyncClient) -> None:
    async def counts(path: str) -> tuple[str, int, int]:
        [stats] = (await client.get(path)).json()["model_stats"]
        return stats["name"], stats["inference_count"], stats["inference_stats"]["fail"]["count"]

    before = await counts("/v2/models/stats")
    pixels = bytes(SIDE * SIDE * 3)
    headers = {"Inference-Header-Content-Length": "0"}
    answer = await client.post("/v2/models/tiny_pixels/infer", content=pixels, headers=headers)
    assert answer.status_code == 200
    await client.post("/v2/models/tiny/infer", content=b"none", headers=headers)
    for path in ("/v2/models/stats", "/v2/models/tiny/stats", "/v2/models/tiny/versions/1/stats"):
        assert await counts(path) == ("tiny", before[1] + 1, before[2] + 1)


async def test_the_index(client: httpx.AsyncClient, server: Server) -> None:
    states = [
        {"name": name, "version": "1", "state": "READY", "reason": ""}
        for name in ("tiny", "tiny_pixels")
    ]
    path = "/v2/repository/index"
    assert (await client.get(path)).json() == states
    assert (await client.post(path)).json() == states
    assert (await client.post(path, json={"ready": True})).json() == states
    server.readiness.enter(State.DRAINING)
    try:
        assert (await client.post(path, json={"ready": True})).json() == []
        told = (await client.post(path, json={})).json()
        assert {one["state"] for one in told} == {"UNAVAILABLE"}
    finally:
        server.readiness.enter(State.SERVING)
    assert (await client.post(path, json={"ready": 1})).status_code == 400


async def test_all_of_it_is_described(client: httpx.AsyncClient) -> None:
    described = (await client.get("/openapi.json")).json()["paths"]
    of_model = ["", "/ready", "/config", "/stats", "/infer"]
    of_version = [f"/versions/{{version}}{path}" for path in of_model]
    paths = {f"/v2/models/{{model}}{path}" for path in of_model + of_version}
    paths |= {"/v2", "/v2/health/live", "/v2/health/ready"}
    paths |= {"/v2/models", "/v2/models/stats", "/v2/repository/index"}
    changes = ("load", "unload", "labels/{label}")
    paths |= {f"/v2/repository/models/{{model}}/{change}" for change in changes}
    assert {path for path in described if path.startswith("/v2")} == paths
    assert {*described["/v2/repository/index"]} == {"get", "post"}
    infer = described["/v2/models/{model}/versions/{version}/infer"]["post"]
    assert {parameter["name"] for parameter in infer["parameters"]} == {
        "model",
        "version",
        "x-request-id",
        "x-request-timeout-ms",
        "inference-header-content-length",
    }
    both = {"application/json", "application/octet-stream"}
    assert {*infer["requestBody"]["content"]} == both
    assert {*infer["responses"]["200"]["content"]} == both


@pytest.mark.parametrize("path", ["", "/ready", "/config", "/stats"])
async def test_a_model_that_is_not_there(path: str, client: httpx.AsyncClient) -> None:
    for name in ("other", "tiny/versions/2"):
        answer = await client.get(f"/v2/models/{name}{path}")
        assert (answer.status_code, "loaded: " in answer.json()["error"]) == (404, True)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "trace/setting"),
        ("POST", "trace/setting"),
        ("GET", "models/tiny/trace/setting"),
        ("POST", "models/tiny/trace/setting"),
        ("GET", "logging"),
        ("POST", "logging"),
        ("GET", "systemsharedmemory/status"),
        ("GET", "systemsharedmemory/region/x/status"),
        ("POST", "systemsharedmemory/region/x/register"),
        ("POST", "systemsharedmemory/region/x/unregister"),
        ("POST", "systemsharedmemory/unregister"),
        ("GET", "cudasharedmemory/status"),
        ("GET", "cudasharedmemory/region/x/status"),
        ("POST", "cudasharedmemory/region/x/register"),
        ("POST", "cudasharedmemory/region/x/unregister"),
        ("POST", "cudasharedmemory/unregister"),
    ],
)
async def test_what_is_not_offered_is_said(
    method: str, path: str, client: httpx.AsyncClient
) -> None:
    answer = await client.request(method, f"/v2/{path}")
    assert answer.status_code == 501
    assert len(answer.json()["error"].split()) > 4
