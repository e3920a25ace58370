"""Files over HTTP that kill, stop or hold up their decoder, and what that costs."""

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from protos import classifier_pb2 as pb
from serving.frontend import front_end
from serving.http import bodies
from serving.server import Server
from tests.serving.api.messages import expected, png
from tests.serving.frontend.conftest import all_up, call, connected, deaths, front_ends
from tests.serving.http.conftest import http_to
from tests.support.bundles import SIDE, copy_bundle, write_bundle
from tests.support.serving import repository_server, running_server, until

pytestmark = pytest.mark.slow
PHOTO = png(1).encoded
# The decoders read nothing behind the end of a picture.
KILLS, HANGS, WAITS = (PHOTO + word for word in (b"kill", b"hang", b"wait"))
PLAIN = pb.Image(
    raw=pb.RawImage(pixels=bytes(SIDE * SIDE * 3), height=SIDE, width=SIDE, channels=3)
)
WHOLE_BODY = {"Inference-Header-Content-Length": "0"}
NOT_READY = (
    ("rejections_total", {"reason": "not_ready"}),
    ("images_total", {"outcome": "rejected"}),
)
ROUTES = ("/v1/classify", "/predictions/tiny", "/v2/models/tiny/infer", "/v1/pixels")
# Python runs this at the start of a process that finds it.
DECODER = """
import os, pathlib, signal, time
from images.transform import Transform

usual, folder = Transform.decode, pathlib.Path({folder!r})

def decode(self, data, *limits):
    if data.endswith(b"kill"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if data.endswith(b"wait"):
        with (folder / "waited").open("ab") as file:
            file.write(b".")
    while data.endswith(b"hang") or data.endswith(b"wait") and not (folder / "go_on").exists():
        (folder / "begun").touch()
        time.sleep(0.01)
    return usual(self, data, *limits)

Transform.decode = decode
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where front ends note that they have `begun` a file that hangs or waits, and may `go_on`.

    `waited` has a byte for each decode that waits.
    """
    (tmp_path / "sitecustomize.py").write_text(DECODER.format(folder=str(tmp_path)))
    monkeypatch.setattr(front_end, "PATHS", [str(tmp_path), *front_end.PATHS])
    return tmp_path


@asynccontextmanager
async def serving(
    path: Path, **settings: object
) -> AsyncIterator[tuple[Server, httpx.AsyncClient]]:
    """A server that has nothing in flight at its end, and a client of it."""
    async with running_server(path, **settings) as server, http_to(server) as client:
        yield server, client
        assert inflight(server) == 0


def counted(server: Server, metric: tuple[str, dict[str, str]]) -> float:
    """Return what a metric of the model counts."""
    name, labels = metric
    model = {"model": "tiny", "version": "1"}
    value = server.metrics.registry.get_sample_value(f"serving_{name}", model | labels)
    assert value is not None
    return value


def inflight(server: Server) -> float:
    return counted(server, ("inflight_images", {}))


async def answers(client: httpx.AsyncClient) -> bool:
    """Whether a photo is classified as it should be."""
    answer = await client.post("/v1/classify", content=PHOTO)
    assert answer.status_code == 200, answer.text
    return bool(answer.json()["results"][0]["classes"][0]["label"] == expected(1)[0][1])


async def test_a_file_that_kills_its_decoder_costs_a_front_end(tiny: Path, folder: Path) -> None:
    async with serving(tiny, frontends=2) as (server, client):
        for number, route in enumerate(ROUTES):
            lost = await client.post(route, content=KILLS, headers=WHOLE_BODY)
            assert (lost.status_code, lost.headers["retry-after"]) == (503, "1")
            assert "the process that was to decode the image has ended" in lost.json()["error"]
            assert await answers(client)
            assert (await client.get("/readyz")).status_code == 200
            await until(lambda: deaths(server, "died") == number + 1)  # noqa: B023
            await all_up(server, 2)


async def test_a_file_that_hangs_its_decoder_costs_a_front_end(tiny: Path, folder: Path) -> None:
    async with serving(tiny, frontends=2, overdue_s=3) as (server, client):
        for number, route in enumerate(("/v1/classify", "/v1/pixels")):
            hanging = asyncio.create_task(client.post(route, content=HANGS))
            await until((folder / "begun").exists)
            assert await answers(client)
            assert (await client.get("/readyz")).status_code == 200
            lost = await hanging
            assert (lost.status_code, lost.headers["retry-after"]) == (503, "1")
            assert "took too long (--overdue-s)" in lost.json()["error"]
            await until(lambda: deaths(server, "hung") == number + 1)  # noqa: B023
            await all_up(server, 2)
            (folder / "begun").unlink()


async def test_of_several_images_only_those_of_the_front_end_are_lost(
    tiny: Path, folder: Path
) -> None:
    async with serving(tiny, frontends=1) as (_, client):
        form = [("images", ("a.png", PHOTO)), ("images", ("b.png", KILLS))]
        answer = await client.post("/v1/classify", files=form)
        assert answer.status_code == 200
        codes = [result.get("status", {}).get("code", 0) for result in answer.json()["results"]]
        assert codes[0] in (0, 14)  # it may have been decoded before
        assert codes[1] == 14


async def test_callers_learn_that_no_front_end_is_there(tiny: Path, folder: Path) -> None:
    async with serving(tiny, frontends=1) as (server, client):
        assert (await client.post("/v1/classify", content=KILLS)).status_code == 503
        await until(lambda: front_ends() == [])
        refusals, rejected = (partial(counted, server, each) for each in NOT_READY)
        before = rejected()
        for route in ROUTES:
            refused = await client.post(route, content=PHOTO, headers=WHOLE_BODY)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert refused.json() == {"error": "no front end can decode images now; try again"}
        assert refusals() == len(ROUTES) - 1  # what is only shown is no image of the model
        assert rejected() == before + len(ROUTES) - 1
        assert (await client.get("/healthz")).status_code == 200
        await all_up(server, 1)
        assert await answers(client)


@pytest.mark.parametrize("route", ["/v1/classify", "/v1/pixels"])
async def test_a_version_that_is_unloaded_answers_those_whose_body_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    unused, told, go_on = set[int](), front_end.FrontEnd._told, threading.Event()
    usual = bodies.inflate

    def listen(self: front_end.FrontEnd, said: dict[str, Any]) -> None:
        unused.update(said.get("unused", ()))
        told(self, said)

    def inflate(body: bytes, most_bytes: int) -> bytes:
        assert go_on.wait(60)
        return usual(body, most_bytes)

    monkeypatch.setattr(front_end.FrontEnd, "_told", listen)
    monkeypatch.setattr(bodies, "inflate", inflate)
    copy_bundle(write_bundle(tmp_path), tmp_path, "2")
    settings = {"model_control": "explicit", "load_model": ("tiny",), "version_policy": "all"}
    async with (
        repository_server(tmp_path, frontends=1, **settings) as server,
        http_to(server) as client,
    ):
        old, packed = server.repository.get("tiny", "1"), gzip.compress(PHOTO)
        asked = asyncio.create_task(
            client.post(f"{route}?version=1", content=packed, headers={"content-encoding": "gzip"})
        )
        await until(lambda: old.is_used)
        unloading = asyncio.create_task(server.control.unload("tiny", "1"))
        await until(lambda: bool(unused))
        go_on.set()
        answer = await asked
        assert answer.status_code == 200, answer.text
        await unloading
        assert not old.is_shared


async def test_a_deadline_does_not_wait_for_a_decoder(tiny: Path, folder: Path) -> None:
    async with serving(tiny, frontends=1, decode_threads=8, overdue_s=60) as (server, client):
        headers = WHOLE_BODY | {"x-request-timeout-ms": "300"}
        for route in ROUTES:
            late = await client.post(route, content=WAITS, headers=headers)
            assert late.status_code == 504
            await until(lambda: inflight(server) == 0)
            assert await answers(client)
        (folder / "go_on").touch()
        assert deaths(server, "hung") == 0


async def test_a_caller_that_leaves_takes_its_images_along(tiny: Path, folder: Path) -> None:
    async with serving(tiny, frontends=1, decode_threads=1) as (server, client):
        leaving = [
            asyncio.create_task(client.post("/v1/classify", content=WAITS)) for _ in range(3)
        ]
        await until((folder / "begun").exists)
        await until(lambda: inflight(server) == 3)
        for task in leaving:
            task.cancel()
        await until(lambda: inflight(server) == 0)
        async with connected(server) as [stub]:
            await call(stub, PLAIN)  # nothing to decode; the front end knows then who has left
        (folder / "go_on").touch()
        assert await answers(client)
        assert (folder / "waited").stat().st_size == 1  # the other two were never decoded


async def test_a_drain_decodes_what_is_in_flight(tiny: Path, folder: Path) -> None:
    async with running_server(tiny, frontends=1) as server, http_to(server) as client:
        waiting = asyncio.create_task(client.post("/v1/classify", content=WAITS))
        await until((folder / "begun").exists)
        async with connected(server) as [stub]:
            await call(stub, png(1))
        draining = asyncio.create_task(server.drain())
        await server.readiness.closing.wait()
        (folder / "go_on").touch()
        assert (await waiting).status_code == 200
        await draining
        assert front_ends() == []
        assert deaths(server, "died") == 0


async def test_more_files_than_a_socket_takes_at_once(tiny: Path) -> None:
    async with serving(tiny, frontends=1) as (server, client):
        [process] = front_ends()
        padded = PHOTO + bytes(8 * 2**20)
        process.suspend()
        sent = [asyncio.create_task(client.post("/v1/classify", content=padded)) for _ in range(8)]
        await until(lambda: inflight(server) == 8)
        process.resume()
        for answer in await asyncio.gather(*sent):
            assert answer.status_code == 200
        assert psutil.pid_exists(process.pid)
        assert deaths(server, "died") == 0
