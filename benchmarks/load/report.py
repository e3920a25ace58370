"""From samples to figures."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc
import numpy as np

from benchmarks.load.loops import Sample
from protos import classifier_pb2 as pb

PERCENTILES = (50, 95, 99, 99.9)
STAGES = ("admission", "decode", "queue", "infer", "total")

Percentiles = dict[str, float]
"""`p50`, `p95`, `p99`, `p99.9` in milliseconds; empty if nothing was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One run. Rates count the answers that came during it, all else the requests due during it.

    A run begins under load, so that filling the server's queues is no part of it. `goodput` counts
    answers within the timeout, from the moment when they were due; `server_ms` has the server's
    stages, `client_cpu_ms` is the load tester's own cost per request, and `answered` counts all
    answers, those of the warm-up too.
    """

    load: str
    seconds: float
    requests: int
    images_per_second: float
    goodput: float
    latency_ms: Percentiles
    server_ms: dict[str, Percentiles]
    batch_images: float
    errors: dict[str, int]
    client_cpu_ms: float
    answered: int


def summarize(
    load: str,
    samples: Sequence[Sample],
    timing: Callable[[bytes], pb.Timing | None],
    *,
    start: float,
    seconds: float,
    timeout_s: float,
    cpu_s: float,
) -> Report:
    """Return the figures of a run that began at `start` (monotonic seconds).

    `samples` and `cpu_s` include what came before; `timing` reads a response.
    """
    answered = [sample for sample in samples if sample.code is grpc.StatusCode.OK]
    came = [sample for sample in answered if start <= sample.done <= start + seconds]
    in_time = [sample for sample in came if sample.done - sample.due <= timeout_s]
    due = [sample for sample in samples if sample.due >= start]
    latencies = [(s.done - s.due) * 1e3 for s in due if s.code is grpc.StatusCode.OK]
    timings = [t for sample in due if sample.response and (t := timing(sample.response))]
    return Report(
        load=load,
        seconds=seconds,
        requests=len(due),
        images_per_second=len(came) / seconds,
        goodput=len(in_time) / seconds,
        latency_ms=percentiles(latencies),
        server_ms={
            stage: percentiles([getattr(timing, f"{stage}_ms") for timing in timings])
            for stage in STAGES
        },
        batch_images=sum(timing.batch_images for timing in timings) / max(len(timings), 1),
        errors=dict(Counter(s.code.name for s in due if s.code is not grpc.StatusCode.OK)),
        client_cpu_ms=cpu_s * 1e3 / max(len(samples), 1),
        answered=len(answered),
    )


def percentiles(values: Sequence[float]) -> Percentiles:
    """Return the percentiles of some values, of none nothing."""
    if not values:
        return {}
    found = np.percentile(values, PERCENTILES).tolist()
    return {f"p{rank:g}": value for rank, value in zip(PERCENTILES, found, strict=True)}
