"""A real server that is told to stop while callers loop."""

import asyncio
import signal
from collections import Counter
from pathlib import Path

import grpc

from protos import classifier_pb2 as pb
from protos.classifier_pb2_grpc import ClassifierStub
from tests.serving.api.messages import png
from tests.support.process import ready, start

CALLERS = 24


async def call_until_it_fails(address: str, outcomes: Counter[str], warm: asyncio.Event) -> None:
    """Classify again and again over a connection of its own, without retries."""
    options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    request = pb.ClassifyRequest(images=[png(1)])
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        stub = ClassifierStub(channel)
        try:
            while True:
                await stub.Classify(request, timeout=20)
                outcomes["OK"] += 1
                if outcomes["OK"] >= 10 * CALLERS:
                    warm.set()
        except grpc.aio.AioRpcError as error:
            outcomes[error.code().name] += 1


async def test_callers_that_loop_see_answers_and_then_unavailable(tiny: Path) -> None:
    process = start(tiny)
    address = ready(process).grpc
    outcomes: Counter[str] = Counter()
    warm = asyncio.Event()
    async with asyncio.timeout(60), asyncio.TaskGroup() as callers:
        for _ in range(CALLERS):
            callers.create_task(call_until_it_fails(address, outcomes, warm))
        await warm.wait()
        process.send_signal(signal.SIGTERM)
    _, errors = await asyncio.to_thread(process.communicate, timeout=60)
    assert process.returncode == 0
    assert outcomes.keys() == {"OK", "UNAVAILABLE"}, outcomes
    assert outcomes["UNAVAILABLE"] == CALLERS
    assert "Traceback" not in errors
