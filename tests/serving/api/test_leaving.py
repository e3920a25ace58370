"""Half of many callers leave a real server of a real runtime, before a batch has formed."""

import asyncio
from pathlib import Path

from protos import classifier_pb2 as pb
from tests.serving.api.conftest import calling
from tests.serving.api.messages import expected, png
from tests.support.serving import running_server, until

CALLERS = 256


async def test_half_of_256_callers_leave_and_the_others_are_answered(tiny: Path) -> None:
    requests = [pb.ClassifyRequest(images=[png(seed)], top_k=1) for seed in range(8)]
    async with running_server(tiny, instances=1, decode_threads=1) as server:
        registry = server.metrics.registry
        [model] = server.repository.all()

        def sample(name: str, **more: str) -> float:
            labels = {"model": "tiny", "version": "1", **more}
            return registry.get_sample_value(f"serving_{name}", labels) or 0.0

        async with calling(server) as stub:
            with model.batcher.queue.lock:  # no batch forms as yet
                calls = [stub.Classify(requests[caller % 8]) for caller in range(CALLERS)]
                await until(lambda: sample("inflight_images") == CALLERS)
                for call in calls[::2]:
                    call.cancel()
                await until(lambda: sample("images_total", outcome="cancelled") == CALLERS / 2)
            responses = await asyncio.gather(*calls[1::2])
            ended = await asyncio.gather(*calls[::2], return_exceptions=True)
        await until(lambda: sample("inflight_images") == 0)
        ran = sample("batch_images_sum")
        wasted = sample("wasted_images_total")
    for response, caller in zip(responses, range(1, CALLERS, 2), strict=True):
        assert response.results[0].classes[0].index == expected(caller % 8)[0][0]
    assert all(isinstance(end, asyncio.CancelledError) for end in ended)
    assert (ran, wasted) == (CALLERS / 2, 0)
