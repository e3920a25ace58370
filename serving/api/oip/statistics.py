"""What models have done, from the counters that Prometheus reads.

An image is counted as a request of its own, as it is there: it has its own times, and may be
answered in another batch than its mates. So the times, divided by the counts, are those of an
image.
"""

import time

from protos import open_inference_pb2 as pb
from serving.api.oip.names import find
from serving.engine.model import Model
from serving.engine.repository import ModelRepository
from serving.metrics import ModelMetrics, value
from serving.tallies import BatchTotals

Duration = pb.StatisticDuration


def statistics(repository: ModelRepository, name: str, version: str) -> pb.ModelStatisticsResponse:
    """Return the statistics of a model, or of all if no name is given.

    Both names of a model have the same ones: they are the model's.

    Raises what `names.find` raises.
    """
    if name:
        named = find(repository, name, version)
        return pb.ModelStatisticsResponse(model_stats=[_statistics(named.name, named.model)])
    models = repository.all()
    return pb.ModelStatisticsResponse(model_stats=[_statistics(one.name, one) for one in models])


def _statistics(name: str, model: Model) -> pb.ModelStatistics:
    metrics = model.metrics
    sizes, last = metrics.batch_sizes.sample()
    # The engine's clock knows no date.
    ended_ms = 1000 * (time.time() - (model.clock() - last)) if last else 0
    return pb.ModelStatistics(
        name=name,
        version=model.version,
        last_inference=int(ended_ms),
        inference_count=value(metrics.images["ok"]),
        execution_count=sum(map(value, metrics.batches.values())),
        inference_stats=_images(metrics),
        batch_stats=[_batches(images, totals) for images, totals in sizes.items()],
    )


def _images(metrics: ModelMetrics) -> pb.InferStatistics:
    answered = value(metrics.images["ok"])
    failed = sum(value(count) for outcome, count in metrics.images.items() if outcome != "ok")
    seconds = {stage: times.total_s for stage, times in metrics.stages.items()}
    queue_s = seconds["total"] - seconds["decode"] - seconds["infer"]  # admission included
    return pb.InferStatistics(
        success=_duration(answered, seconds["total"]),
        fail=_duration(failed, 0.0),
        queue=_duration(answered, queue_s),
        compute_input=_duration(answered, seconds["decode"]),
        compute_infer=_duration(answered, seconds["infer"]),
        compute_output=_duration(answered, 0.0),
        cache_hit=Duration(),
        cache_miss=Duration(),
    )


def _batches(images: int, totals: BatchTotals) -> pb.InferBatchStatistics:
    return pb.InferBatchStatistics(
        batch_size=images,
        compute_input=_duration(totals.batches, totals.decode_s),
        compute_infer=_duration(totals.batches, totals.infer_s),
        compute_output=_duration(totals.batches, 0.0),
    )


def _duration(count: int, seconds: float) -> pb.StatisticDuration:
    return Duration(count=count, ns=max(0, int(seconds * 1e9)))
