"""`/v1/classify` and the routes of other servers, over real connections."""

import asyncio
import gc
import gzip
import io
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from google.protobuf import json_format
from PIL import Image

from protos import classifier_pb2 as pb
from serving.errors import ServingError
from serving.server import Server
from tests.serving.api.conftest import calling
from tests.serving.api.messages import expected, png
from tests.serving.http.conftest import http_to
from tests.serving.http.raw import read_answer
from tests.support.bundles import LABELS, write_bundle
from tests.support.objects import alive
from tests.support.serving import (
    Gate,
    Rig,
    gated_server,
    listening_server,
    running_server,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
PHOTO, OTHER = png(1).encoded, png(2).encoded
BROKEN = PHOTO[:60]


def grey(value: int) -> bytes:
    """A picture for which the fake backend answers class `value % 6`."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8), value).save(buffer, "PNG")
    return buffer.getvalue()


async def test_the_answer_is_that_of_grpc_as_json(tiny: Path) -> None:
    async with running_server(tiny) as server, http_to(server) as client, calling(server) as stub:
        request = pb.ClassifyRequest(images=[png(1)], top_k=5, full_probabilities=True)
        over_grpc = await stub.Classify(request)
        answer = await client.put("/v1/classify?full_probabilities=true", content=PHOTO)
    assert answer.headers["content-type"] == "application/json"
    response = json_format.Parse(answer.text, pb.ClassifyResponse())
    for each in (response, over_grpc):
        each.results[0].ClearField("timing")
    assert response == over_grpc
    [result] = answer.json()["results"]
    assert result["classes"][0].keys() == {"index", "label", "probability"}
    stages = {"admission_ms", "decode_ms", "queue_ms", "infer_ms", "total_ms", "batch_images"}
    assert result["timing"].keys() == stages
    # As short as float32 allows.
    assert f'"probability":{np.float32(result["classes"][0]["probability"])!s}' in answer.text


async def test_options_and_ways_to_send(client: httpx.AsyncClient) -> None:
    def labels(answer: httpx.Response) -> list[list[str]]:
        assert answer.status_code == 200, answer.text
        return [[c["label"] for c in result["classes"]] for result in answer.json()["results"]]

    first, second = ([label for _, label, _ in expected(seed)] for seed in (1, 2))
    asked = "?model=tiny&version=1&top_k="
    assert labels(await client.post("/v1/classify", content=PHOTO)) == [first[:5]]
    assert labels(await client.put(f"/v1/classify{asked}2", content=PHOTO)) == [first[:2]]
    assert labels(await client.put(f"/v1/classify{asked}0", content=PHOTO)) == [first]
    assert labels(await client.post("/invocations", content=PHOTO)) == [first[:5]]
    form = [("images", ("a.png", PHOTO)), ("others", ("b.png", OTHER))]
    fields = {"comment": "hello"}
    both = await client.post(f"/v1/classify{asked}1", files=form, data=fields)
    assert labels(both) == [first[:1], second[:1]]
    coded = {"content-encoding": "gzip", "content-type": "image/png"}
    squeezed = await client.post("/v1/classify", content=gzip.compress(PHOTO), headers=coded)
    assert labels(squeezed) == [first[:5]]

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(PHOTO), 100):
            yield PHOTO[at : at + 100]

    assert labels(await client.put("/v1/classify", content=chunks())) == [first[:5]]


async def test_a_large_answer_is_whole(tiny: Path) -> None:
    async with (
        running_server(tiny, max_images_per_request=400) as server,
        http_to(server) as client,
    ):
        form = [("images", (f"{number}.png", PHOTO)) for number in range(400)]
        answer = await client.post("/v1/classify?top_k=0", files=form)
    assert [len(result["classes"]) for result in answer.json()["results"]] == [6] * 400


async def test_one_of_many_images_fails_alone_and_an_only_one_as_an_error(
    client: httpx.AsyncClient,
) -> None:
    form = [("images", ("a.png", BROKEN)), ("images", ("b.png", PHOTO))]
    broken, good = (await client.post("/v1/classify", files=form)).json()["results"]
    assert broken.keys() == {"status"}
    assert broken["status"]["code"] == 3
    assert good["classes"][0]["label"] == expected(1)[0][1]
    alone = await client.post("/v1/classify", content=BROKEN)
    assert (alone.status_code, alone.json()) == (400, {"error": broken["status"]["message"]})


async def test_images_that_fail_leave_no_work_to_the_collector(client: httpx.AsyncClient) -> None:
    gc.collect()
    before = alive(ServingError)
    gc.disable()
    try:
        for _ in range(30):
            assert (await client.post("/v1/classify", content=BROKEN)).status_code == 400
        assert alive(ServingError) < before + 10  # a thread that decodes holds its last image
    finally:
        gc.enable()


async def test_torchserve_and_sagemaker_find_their_routes(client: httpx.AsyncClient) -> None:
    top = {label: pytest.approx(probability) for _, label, probability in expected(1)[:5]}
    for path in ("/predictions/tiny", "/predictions/tiny/1"):
        assert (await client.put(path, content=PHOTO)).json() == top
        assert (await client.post(path, files={"data": ("a.png", PHOTO)})).json() == top
    assert (await client.get("/ping")).json() == {"status": "Healthy"}
    two = [("data", ("a.png", PHOTO)), ("data", ("b.png", PHOTO))]
    assert (await client.post("/predictions/tiny", files=two)).status_code == 400


TWICE = [("x-request-timeout-ms", "1"), ("X-Request-Timeout-Ms", "1000")]


@pytest.mark.parametrize(
    ("method", "path", "options", "code", "message"),
    [
        ("PUT", "/v1/classify", {}, 400, "holds no image"),
        (
            "PUT",
            "/v1/classify?top_k=-1",
            {"content": PHOTO},
            400,
            "`top_k` must be greater than or equal to 0, not '-1'",
        ),
        ("PUT", "/v1/classify?topk=1", {"content": PHOTO}, 400, "`topk`; there are model, "),
        ("PUT", "/v1/classify?top_k=1&top_k=2", {"content": PHOTO}, 400, "`top_k` is stated more"),
        ("PUT", "/v1/classify", {"headers": TWICE}, 400, "`x-request-timeout-ms` is stated more"),
        ("PUT", "/v1/classify?model=other", {"content": PHOTO}, 404, "loaded: tiny"),
        ("PUT", "/predictions/tiny/7", {"content": PHOTO}, 404, "no version '7'"),
        ("PUT", "/v1/classify/cat.jpg", {"content": PHOTO}, 404, "/openapi.json lists"),
        ("GET", "/docs", {}, 404, "there is no /docs"),
        ("GET", "/v1/classify", {}, 405, "does not have GET; it has OPTIONS, POST, PUT"),
        ("DELETE", "/healthz", {}, 405, "it has GET, HEAD, OPTIONS"),
        ("PUT", "/v1/classify", {"headers": {"content-type": "multipart/mixed"}}, 415, "mixed"),
        ("PUT", "/v1/classify", {"headers": {"content-encoding": "br"}}, 415, "gzip"),
        (
            "PUT",
            "/v1/classify",
            {"headers": {"x-request-timeout-ms": "soon"}},
            400,
            "integer, not 'soon'",
        ),
        ("PUT", "/v1/classify", {"json": {"image": "aGk="}}, 415, "JSON is not read here"),
        ("POST", "/invocations", {"json": {"image": "aGk="}}, 415, "JSON is not read here"),
    ],
)
async def test_errors_say_what_was_wrong(
    client: httpx.AsyncClient,
    method: str,
    path: str,
    options: dict[str, object],
    code: int,
    message: str,
) -> None:
    answer = await client.request(method, path, **options)  # type: ignore[arg-type]
    assert answer.status_code == code
    assert answer.json().keys() == {"error"}
    assert message in answer.json()["error"]
    assert ("allow" in answer.headers) == (code == 405)


async def test_head_and_options(client: httpx.AsyncClient) -> None:
    got, head = await client.get("/healthz"), await client.head("/healthz")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]
    options = await client.options("/v1/classify")
    assert (options.status_code, options.headers["allow"]) == (204, "OPTIONS, POST, PUT")
    assert (await client.head("/v1/classify")).status_code == 405


async def test_deadlines_are_kept_and_named(tiny: Path) -> None:
    rig = Rig(tiny)
    async with gated_server(rig) as server, http_to(server) as client:
        late = await client.put(
            "/v1/classify", content=grey(1), headers={"X-Request-Timeout-Ms": "50"}
        )
        assert late.status_code == 504
        await until(lambda: rig.images("expired") == 1)


async def test_a_full_server_says_when_to_try_again(tiny: Path) -> None:
    rig = Rig(tiny, slots=1)
    async with gated_server(rig) as server, http_to(server) as client:
        busy = asyncio.create_task(client.put("/v1/classify", content=grey(1)))
        await rig.gate.wait()
        refused = await client.put("/v1/classify", content=grey(2))
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        rig.gate.open()
        assert (await busy).status_code == 200


async def test_a_client_that_leaves_cancels_its_images(tiny: Path) -> None:
    rig = Rig(tiny)
    async with gated_server(rig) as server, http_to(server) as client:
        busy = asyncio.create_task(client.put("/v1/classify", content=grey(1)))
        await rig.gate.wait()
        leaving = asyncio.create_task(client.put("/v1/classify", content=grey(2)))
        await rig.queued(1)
        leaving.cancel()
        await until(lambda: rig.images("cancelled") == 1)
        rig.gate.open()
        assert (await busy).json()["results"][0]["classes"][0]["index"] == 1
    assert rig.backends[0].batches == [(1, 1)]


async def test_a_server_that_loads_says_so(tiny: Path) -> None:
    async with listening_server(tiny) as server, http_to(server) as client:
        for answer in (await client.put("/v1/classify", content=PHOTO), await client.get("/ping")):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert "loading" in answer.json()["error"]


async def test_a_drain_answers_what_is_in_flight_and_refuses_the_rest(tiny: Path) -> None:
    rig = Rig(tiny)
    async with gated_server(rig) as server, http_to(server) as client:
        busy = asyncio.create_task(client.put("/v1/classify", content=grey(1)))
        await rig.gate.wait()
        draining = asyncio.create_task(server.drain())
        await server.readiness.closing.wait()
        refused = await client.put("/v1/classify", content=grey(2))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.headers["connection"] == "close"
        assert (await client.get("/healthz")).status_code == 200
        assert not draining.done()
        rig.gate.open()
        assert (await busy).status_code == 200
        await draining


async def test_no_answer_of_a_server_that_drains_is_lost(tiny: Path) -> None:
    codes: list[int] = []
    warm = asyncio.Event()

    async def ask(server: Server) -> None:
        async with http_to(server) as client:
            code = 200
            while code == 200:
                code = (await client.put("/v1/classify", content=PHOTO)).status_code
                codes.append(code)
                if len(codes) >= 100:
                    warm.set()

    async with running_server(tiny) as server, asyncio.TaskGroup() as task:
        for _ in range(8):
            task.create_task(ask(server))
        await warm.wait()
        await server.drain()
    labels = {"model": "tiny", "version": "1", "outcome": "ok"}
    answered = server.metrics.registry.get_sample_value("serving_images_total", labels)
    assert (codes.count(200), codes.count(503)) == (answered, 8)


async def test_faults_of_the_server_are_logged_and_get_an_id(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("serving.http.classify.to_fields", fail)
    async with running_server(tiny) as server, http_to(server) as client:
        answer = await client.put("/v1/classify", content=PHOTO)
    assert answer.status_code == 500
    assert answer.json()["error"].startswith("internal error (id ")
    assert "secret" in caplog.text


async def test_several_models_must_be_named(tmp_path: Path) -> None:
    write_bundle(tmp_path, "ants")
    write_bundle(tmp_path, "bees")
    gate = Gate(is_open=True)
    rigs = [Rig(tmp_path / name / "1", gate=gate) for name in ("ants", "bees")]
    async with gated_server(rigs[0]) as server, http_to(server) as client:
        server.repository.add(rigs[1].model)
        refused = await client.put("/v1/classify", content=grey(1))
        assert (refused.status_code, "ants, bees" in refused.json()["error"]) == (400, True)
        named = await client.put("/predictions/ants", content=grey(1))
        assert next(iter(named.json())) == LABELS[1]


async def test_pipelined_requests_are_answered_in_their_order(tiny: Path) -> None:
    async with running_server(tiny) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.http.port)
        for seed in (1, 2, 1):
            file = png(seed).encoded
            head = (
                f"PUT /predictions/tiny HTTP/1.1\r\nHost: x\r\nContent-Length: {len(file)}\r\n\r\n"
            )
            writer.write(head.encode() + file)
        bodies = [(await read_answer(reader))[1] for _ in range(3)]
        assert [expected(seed)[0][1] in bodies[i].decode()[:9] for i, seed in enumerate((1, 2, 1))]
        writer.close()
