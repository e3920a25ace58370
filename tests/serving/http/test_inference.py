"""The Open Inference Protocol over HTTP, as its clients speak it: inference."""

import asyncio
import base64
import gzip
import json
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from serving.http import inference
from serving.http.schemas import LARGEST_JSON
from serving.server import Server
from tests.serving.api.messages import png as image
from tests.serving.api.oip.messages import seen
from tests.serving.http.conftest import http_to
from tests.support.bundles import LABELS, SIDE, photo, probabilities
from tests.support.serving import Rig, gated_server, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
INFER = "/v2/models/tiny/infer"
LENGTH = "Inference-Header-Content-Length"
WHOLE_BODY = {LENGTH: "0"}


def png(seed: int) -> bytes:
    return image(seed).encoded


def expected(*seeds: int) -> NDArray[np.float32]:
    return probabilities(seen(*seeds))


def files(*images: bytes, **parameters: Any) -> dict[str, Any]:
    """Return an input of image files in base64."""
    data = [base64.b64encode(image).decode() for image in images]
    given = {"content_type": "base64", **parameters}
    stated = {"name": "images", "datatype": "BYTES", "shape": [len(images)], "data": data}
    return stated | {"parameters": given}


def pixels(array: NDArray[np.uint8], *, flat: bool = False) -> dict[str, Any]:
    """Return an input of pixels in JSON."""
    data = (array.ravel() if flat else array).tolist()
    return {"name": "images", "datatype": "UINT8", "shape": [*array.shape], "data": data}


def binary(*images: bytes, **request: Any) -> tuple[bytes, dict[str, str]]:
    """Return a body with image files as binary data, and its headers."""
    tail = b"".join(struct.pack("<I", len(image)) + image for image in images)
    stated = {"name": "images", "datatype": "BYTES", "shape": [len(images), 1]}
    inputs = [stated | {"parameters": {"binary_data_size": len(tail)}}]
    head = json.dumps({"inputs": inputs, **request}).encode()
    return head + tail, {LENGTH: str(len(head))}


def rows(answer: httpx.Response) -> NDArray[np.float32]:
    """Return the probabilities of an answer in JSON or binary data."""
    assert answer.status_code == 200, answer.text
    size = answer.headers.get(LENGTH)
    told = json.loads(answer.content[: int(size)] if size else answer.content)
    [output] = told["outputs"]
    assert (output["name"], output["datatype"]) == ("probabilities", "FP32")
    if size:
        assert answer.headers["content-type"] == "application/octet-stream"
        tail = answer.content[int(size) :]
        assert output["parameters"] == {"binary_data_size": len(tail)}
        found = np.frombuffer(tail, np.float32)
    else:
        assert answer.headers["content-type"] == "application/json"
        found = np.array(output["data"], np.float32)
    return found.reshape(output["shape"])


def same(answer: httpx.Response, *seeds: int) -> bool:
    return np.allclose(rows(answer), expected(*seeds), atol=1e-5)


def refusal(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/json"
    return answer.status_code, answer.json()["error"]


async def test_a_file_is_one_curl(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(png(1))
    address = f"localhost:{server.http.port}{INFER}"
    command = ["curl", "-sS", "--data-binary", "@cat.png", "-H", f"{LENGTH}: 0", address]
    run = asyncio.to_thread(subprocess.check_output, command, cwd=tmp_path, timeout=60)
    told = json.loads(await run)
    assert (told["model_name"], told["model_version"]) == ("tiny", "1")
    [output] = told["outputs"]
    assert output["shape"] == [1, len(LABELS)]
    assert np.allclose(output["data"], expected(1)[0], atol=1e-5)


async def test_files_and_pixels_in_json(client: httpx.AsyncClient) -> None:
    assert same(await client.post(INFER, json={"inputs": [files(png(1), png(2))]}), 1, 2)
    photos = np.stack([np.asarray(photo(seed)) for seed in (3, 4)])
    assert photos.nbytes * 2 < inference.LARGE_JSON  # parsed at once, and below, in a thread
    assert same(await client.post(INFER, json={"inputs": [pixels(photos)]}), 3, 4)
    many = np.concatenate([photos] * 8)
    answer = await client.post(INFER, json={"inputs": [pixels(many, flat=True)]})
    assert len(answer.request.content) > inference.LARGE_JSON
    assert same(answer, *[3, 4] * 8)


async def test_pixels_as_the_network_sees_them(client: httpx.AsyncClient) -> None:
    path, ready = "/v2/models/tiny_pixels/infer", seen(1, 2)
    answer = await client.post(path, json={"inputs": [pixels(ready)]})
    assert answer.json()["model_name"] == "tiny_pixels"
    assert same(answer, 1, 2)
    assert same(await client.post(path, content=ready.tobytes(), headers=WHOLE_BODY), 1, 2)
    short = await client.post(path, content=b"123", headers=WHOLE_BODY)
    code, message = refusal(short)
    asked = f"it must have {SIDE * SIDE * 3} for each image of {[SIDE, SIDE, 3]} pixels"
    assert (code, f"the body has 3 bytes; {asked}" in message) == (400, True)


@pytest.mark.parametrize("output", [None, True, False])
@pytest.mark.parametrize("all_outputs", [None, True, False])
async def test_outputs_come_as_they_are_asked_for(
    output: bool | None, all_outputs: bool | None, client: httpx.AsyncClient
) -> None:
    request: dict[str, Any] = {}
    if all_outputs is not None:
        request["parameters"] = {"binary_data_output": all_outputs}
    if output is not None:
        asked = {"name": "probabilities", "parameters": {"binary_data": output}}
        request["outputs"] = [asked]
    body, headers = binary(png(1), png(2), id="7", **request)
    answer = await client.post(INFER, content=body, headers=headers)
    assert same(answer, 1, 2)
    wanted = all_outputs if output is None else output
    assert (LENGTH in answer.headers) == bool(wanted)


async def test_the_most_probable_classes(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "MANY_CLASSES", 1)  # built in a thread
    asked = {"name": "probabilities", "parameters": {"classification": 2}}
    request = {"inputs": [files(png(1), png(2))], "outputs": [asked], "id": "7"}
    told = (await client.post(INFER, json=request)).json()
    assert told["id"] == "7"
    [output] = told["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [2, 2])
    row = expected(1)[0]
    best = int(row.argmax())
    value, index, label = output["data"][0].split(":")
    assert (int(index), label) == (best, LABELS[best])
    assert float(value) == pytest.approx(float(row[best]), abs=1e-5)


@pytest.mark.parametrize(
    ("coding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
async def test_compressed_requests(coding: str, compress: Any, client: httpx.AsyncClient) -> None:
    body, headers = binary(png(1))
    headers |= {"content-encoding": coding, "accept-encoding": coding}
    answer = await client.post(INFER, content=compress(body), headers=headers)
    assert same(answer, 1)
    assert "content-encoding" not in answer.headers
    broken = await client.post(INFER, content=compress(body)[:-1], headers=headers)
    assert refusal(broken)[0] == 400


async def test_what_is_wrong_is_said(client: httpx.AsyncClient) -> None:
    async def said(**request: Any) -> tuple[int, str]:
        return refusal(await client.post(INFER, **request))

    code, sentence = await said(json={"inputs": [files(png(1), b"GIF8")]})
    assert (code, sentence[:9]) == (400, "image 1: ")
    hint = f"if it is an image file, add the header `{LENGTH}: 0`"
    assert await said(content=png(1)) == (400, f"the body is not JSON (it is not UTF-8); {hint}")
    where = "(unexpected end of data: line 1 column 2 (char 1))"
    assert await said(content=b"{") == (400, f"the body is not JSON {where}; {hint}")
    assert (await said(content=b"", headers=WHOLE_BODY))[0] == 400
    code, sentence = await said(content=b"{}", headers={LENGTH: "3"})
    assert (code, sentence) == (400, f"{LENGTH} is 3, and the body has 2 bytes")
    code, sentence = await said(content=b"{}", headers={LENGTH: "x"})
    assert (code, "`inference-header-content-length`" in sentence) == (400, True)
    code, sentence = await said(content=b"[" + b"[]," * (LARGEST_JSON // 3) + b"1]")
    assert (code, f"at most {LARGEST_JSON}" in sentence) == (413, True)
    code, sentence = await said(files={"image": png(1)})
    assert (code, "a form is not read here" in sentence) == (415, True)
    wrong = files(png(1)) | {"name": "x"}
    code, sentence = await said(json={"inputs": [wrong]})
    assert (code, "model 'tiny' has no input 'x'" in sentence) == (400, True)
    code, sentence = await said(json={"inputs": [files(png(1))], "outputs": [{"name": "x"}]})
    assert (code, "has no output 'x'" in sentence) == (400, True)


@pytest.mark.parametrize("path", ["/v2/models/other/infer", "/v2/models/tiny/versions/2/infer"])
async def test_a_model_that_is_not_there(path: str, client: httpx.AsyncClient) -> None:
    assert refusal(await client.post(path, content=b"", headers=WHOLE_BODY))[0] == 404


async def test_a_version_is_honoured(client: httpx.AsyncClient) -> None:
    path = "/v2/models/tiny/versions/1/infer"
    assert same(await client.post(path, content=png(1), headers=WHOLE_BODY), 1)


async def test_deadlines(client: httpx.AsyncClient) -> None:
    late: dict[str, Any] = {"inputs": [files(png(1))], "parameters": {"timeout": 1}}
    assert refusal(await client.post(INFER, json=late))[0] == 504
    late["parameters"]["timeout"] = 0  # as in Triton: none
    assert same(await client.post(INFER, json=late), 1)
    hour = {"X-Request-Timeout-Ms": "3600000"}
    late["parameters"]["timeout"] = 1  # the smaller rules
    assert refusal(await client.post(INFER, json=late, headers=hour))[0] == 504


async def test_who_leaves_is_not_answered(tiny: Path) -> None:
    rig = Rig(tiny)
    async with gated_server(rig) as server, http_to(server) as client:
        first = asyncio.create_task(client.post(INFER, content=png(1), headers=WHOLE_BODY))
        await rig.gate.wait()
        second = asyncio.create_task(client.post(INFER, content=png(1), headers=WHOLE_BODY))
        await rig.queued(1)
        second.cancel()
        await until(lambda: rig.images("cancelled") == 1)
        rig.gate.open()
        assert (await first).status_code == 200


async def test_a_full_server_says_when_to_come_again(tiny: Path) -> None:
    rig = Rig(tiny, slots=1)
    async with gated_server(rig) as server, http_to(server) as client:
        first = asyncio.create_task(client.post(INFER, content=png(1), headers=WHOLE_BODY))
        await rig.gate.wait()
        refused = await client.post(INFER, content=png(1), headers=WHOLE_BODY)
        assert refusal(refused)[0] == 429
        assert int(refused.headers["retry-after"]) >= 1
        rig.gate.open()
        assert (await first).status_code == 200


async def test_hostile_json_leaves_nothing(client: httpx.AsyncClient) -> None:
    """Deep, wide and wrong: each is refused, and the next request is answered."""
    wide = b'{"inputs":[' + b'{"name":{}},' * 30_000 + b"{}]}"
    many = b'{"inputs":[' + b"[]," * 100_000 + b"[]]}"
    strings = b'{"inputs":[' + b'"a",' * 500_000 + b'"a"]}'
    for body in (b"[" * 5000, b'{"a":' * 50_000, wide, many, strings):
        assert refusal(await client.post(INFER, content=body))[0] == 400
    assert same(await client.post(INFER, content=png(1), headers=WHOLE_BODY), 1)
