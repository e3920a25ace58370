"""From samples to figures."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import grpc
import numpy as np

from clients.bench.load import Sample
from protos import classifier_pb2 as pb

PERCENTILES = (50, 95, 99, 99.9)
STAGES = ("admission", "decode", "queue", "infer", "total")

Percentiles = dict[str, float]
"""`p50`, `p95`, `p99`, `p99.9` in milliseconds; empty where nothing was measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One run. Rates count the answers that came before the end, latencies all answers.

    `goodput` counts answers within the timeout, from the moment when they were due; `server_ms`
    has the server's stages, `client_cpu_ms` is the load tester's own cost per request.
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


def summarize(
    load: str,
    samples: Sequence[Sample],
    *,
    start: float,
    seconds: float,
    timeout_s: float,
    cpu_s: float,
) -> Report:
    """Return the figures of a run that began at `start` (monotonic seconds)."""
    answered = [sample for sample in samples if sample.code is grpc.StatusCode.OK]
    before_end = [sample for sample in answered if sample.done <= start + seconds]
    in_time = [sample for sample in before_end if sample.done - sample.due <= timeout_s]
    timings = [_timing(sample.response) for sample in answered if sample.response is not None]
    return Report(
        load=load,
        seconds=seconds,
        requests=len(samples),
        images_per_second=len(before_end) / seconds,
        goodput=len(in_time) / seconds,
        latency_ms=percentiles([(sample.done - sample.due) * 1e3 for sample in answered]),
        server_ms={
            stage: percentiles([getattr(timing, f"{stage}_ms") for timing in timings])
            for stage in STAGES
        },
        batch_images=sum(timing.batch_images for timing in timings) / max(len(timings), 1),
        errors=dict(Counter(s.code.name for s in samples if s.code is not grpc.StatusCode.OK)),
        client_cpu_ms=cpu_s * 1e3 / max(len(samples), 1),
    )


def _timing(response: bytes) -> pb.Timing:
    return pb.ClassifyResponse.FromString(response).results[0].timing


def percentiles(values: Sequence[float]) -> Percentiles:
    """Return the percentiles of some values, of none nothing."""
    if not values:
        return {}
    found = np.percentile(values, PERCENTILES).tolist()
    return {f"p{rank:g}": value for rank, value in zip(PERCENTILES, found, strict=True)}
