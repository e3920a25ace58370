"""What a model must answer to its golden images, and the state of every version."""

import json
import shutil
from pathlib import Path

import httpx
import pytest

from tests.serving.http.conftest import http_to
from tests.support.bundles import LABELS, spoil, write_bundle
from tests.support.paths import SHIPPED
from tests.support.serving import repository_server, running_server

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATH = "/v1/models/tiny/versions/1"


async def test_the_proof_is_that_of_the_bundle(client: httpx.AsyncClient, tiny: Path) -> None:
    proof = (await client.get(f"{PATH}/proof")).json()
    golden = json.loads((tiny / "golden/golden.json").read_text())
    assert proof["file"] == "model.onnx"
    assert proof["tolerance"] == 1e-5
    assert [image["path"] for image in proof["images"]] == [
        f"golden/{LABELS[at]}_{at}.png" for at in range(3)
    ]
    for told, kept in zip(proof["images"], golden["images"], strict=True):
        assert told["probabilities"] == kept["probabilities"]
    assert proof["own"] is None
    assert proof["parity"] is None


async def test_golden_images_are_answered_as_they_must(
    client: httpx.AsyncClient, tiny: Path
) -> None:
    proof = (await client.get(f"{PATH}/proof")).json()
    for at, expected in enumerate(proof["images"]):
        file = await client.get(f"{PATH}/golden/{at}")
        assert file.headers["content-type"] == "image/png"
        assert file.content == (tiny / expected["path"]).read_bytes()
        asked = await client.post("/v1/classify?full_probabilities=true", content=file.content)
        given = asked.json()["results"][0]["probabilities"]
        assert given == pytest.approx(expected["probabilities"], abs=proof["tolerance"])


@pytest.mark.parametrize("number", ["3", "-1", "٣", "x", "00"])
async def test_other_images_are_not_found(client: httpx.AsyncClient, number: str) -> None:
    missing = await client.get(f"{PATH}/golden/{number}")
    assert missing.status_code == 404
    assert "there are 0 to 2" in missing.json()["error"]


async def test_other_versions_have_no_proof(client: httpx.AsyncClient) -> None:
    missing = await client.get("/v1/models/tiny/versions/9/proof")
    assert missing.status_code == 404
    assert "no version '9'" in missing.json()["error"]


async def test_parity_is_told_as_the_bundle_has_it() -> None:
    async with (
        running_server(SHIPPED, instances=1, buckets=(1,)) as server,
        http_to(server) as calls,
    ):
        proof = (await calls.get("/v1/models/fashion_resnext/versions/1/proof")).json()
    assert proof["parity"] == json.loads((SHIPPED / "parity.json").read_text())


async def test_a_bundle_that_is_gone_is_told_in_words(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path)
    async with running_server(bundle) as server, http_to(server) as calls:
        (bundle / "golden/ant_0.png").write_bytes(b"other")
        changed = await calls.get(f"{PATH}/golden/0")
        shutil.rmtree(bundle)
        gone = await calls.get(f"{PATH}/proof")
    for answer in (changed, gone):
        assert answer.status_code == 409
        assert "what is loaded still answers" in answer.json()["error"]


async def test_every_version_has_a_state(tmp_path: Path) -> None:
    write_bundle(tmp_path, version="1")
    spoil(write_bundle(tmp_path, version="2"))
    (tmp_path / "tiny/3").mkdir()
    explicit = {"model_control": "explicit", "load_model": ("*",)}
    async with repository_server(tmp_path, **explicit) as server, http_to(server) as calls:
        told = (await calls.get("/v1/versions")).json()
    states = {one["version"]: one["state"] for one in told["versions"]}
    assert states["1"] == "ready"
    assert states["2"] == "failed"
    reasons = {one["version"]: one["reason"] for one in told["versions"]}
    assert "golden image golden/ant_0.png differ" in reasons["2"]
    assert (told["may_load"], told["may_label"]) == (True, True)


async def test_without_a_repository_nothing_may_change(client: httpx.AsyncClient) -> None:
    told = (await client.get("/v1/versions")).json()
    assert told["versions"] == [{"name": "tiny", "version": "1", "state": "ready", "reason": ""}]
    assert (told["may_load"], told["may_label"]) == (False, False)
