"""The load tester over HTTP, against a real server."""

import asyncio
from pathlib import Path

import grpc

from benchmarks.load.http_wire import HttpWire, read_requests
from benchmarks.load.loops import Sample, Target, closed_loop
from tests.support.bundles import photo, write_bundle
from tests.support.serving import running_server


async def test_a_closed_loop_over_http(tmp_path: Path) -> None:
    photo(1).save(tmp_path / "photo.png")
    async with running_server(write_bundle(tmp_path / "models")) as server:

        def load(path: str) -> list[Sample]:
            requests = read_requests(str(tmp_path / "photo.png"), path)
            with HttpWire(f"127.0.0.1:{server.http.port}") as wire:
                target = Target(wire, requests, timeout_s=5)
                return closed_loop(target, concurrency=3, seconds=0.2)

        samples = await asyncio.to_thread(load, "/v1/classify?top_k=1")
        others = await asyncio.to_thread(load, "/predictions/other")
    assert {sample.code for sample in samples} == {grpc.StatusCode.OK}
    assert samples[0].response
    timing = HttpWire.timing(samples[0].response)
    assert timing
    assert timing.batch_images >= 1
    assert {sample.code for sample in others} == {grpc.StatusCode.NOT_FOUND}
