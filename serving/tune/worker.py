"""`python -m serving.tune.worker`: a candidate in a process of its own, which waits for its turns.

It loads a model as the server does and asks the engine what a call would ask: all but gRPC, whose
cost is the same for every candidate, and whose client would take CPU time from them.
"""

import asyncio
import itertools
import logging
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TextIO

import numpy as np
import uvloop
from prometheus_client import CollectorRegistry

from bundle.store import BundleError
from images.decoders import configure
from serving.config import ServingConfig
from serving.engine.model import Model
from serving.engine.sources import Encoded
from serving.errors import ServingError
from serving.loading import load_model
from serving.metrics import Metrics
from serving.tune.process import Job, Message, Ready, Result, Turn

# The deadline of a request, in seconds: far enough to refuse none.
PATIENCE_S = 3600.0


def main() -> int:
    """Load what the first line says, run a turn for each further one, end with the input."""
    lines, out = sys.stdin, _private_output()
    logging.basicConfig(level=logging.ERROR)
    configure()
    job = Job.from_line(lines.readline())
    config = ServingConfig.model_validate({"model": [job.model], "tuned": "off", **job.settings})
    try:
        model = load_model(job.model, config, Metrics(CollectorRegistry()))
    except (BundleError, ServingError) as error:
        _say(out, Ready(error=str(error)))
        return 1
    photos = [path.read_bytes() for path in job.photos]
    _say(out, Ready())
    slo_s = config.slo_ms / 1000 if config.slo_ms else math.inf
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_start(model))
        for line in lines:
            turn = Turn.from_line(line)
            _say(out, runner.run(_turn(model, photos, turn, slo_s)))
        model.close()
    return 0


def _private_output() -> TextIO:
    """Return standard output; what libraries write there goes to standard error from now on."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return out


def _say(out: TextIO, message: Message) -> None:
    out.write(message.to_line())
    out.flush()


async def _start(model: Model) -> None:
    model.start()


async def _turn(model: Model, photos: Sequence[bytes], turn: Turn, slo_s: float) -> Result:
    """Let callers send a photo each, and the next as soon as it is answered."""
    taken = itertools.cycle(photos)
    started = time.monotonic()
    callers = [_call(model, taken, started + turn.seconds) for _ in range(turn.in_flight)]
    latencies = [latency for each in await asyncio.gather(*callers) for latency in each]
    return Result(
        answered=len(latencies),
        in_time=sum(latency <= slo_s for latency in latencies),
        seconds=time.monotonic() - started,
        p99_ms=float(np.percentile(latencies, 99)) * 1e3,
    )


async def _call(model: Model, photos: Iterator[bytes], until: float) -> list[float]:
    """Return the latencies of a caller's requests, of which the last begins before `until`."""
    latencies: list[float] = []
    while not latencies or time.monotonic() < until:
        sent, photo = time.monotonic(), next(photos)
        [answer] = await model.classify([Encoded(photo)], sent + PATIENCE_S, len(photo))
        if isinstance(answer, Exception):
            raise answer
        latencies.append(time.monotonic() - sent)
    return latencies


if __name__ == "__main__":
    sys.exit(main())
