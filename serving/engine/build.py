"""Puts a model together: only here is written which part knows which.

Each part knows only those above it:

    what is known            Room, BatchLatency, DecodeLatency, WaitCorrection, Buckets
    how jobs end             Answers
    how batches form         Batcher
    what works               Decoder, DecodePool, Runner, Device
    which images may enter   Forecast, Admission
    the whole                Model
"""

import time
from collections.abc import Sequence

from bundle.store import Bundle
from images.limits import ImageLimits
from serving.backends.backend import Instance, placement
from serving.engine.admission import Admission
from serving.engine.answers import Answers
from serving.engine.batcher import Batcher, Buckets
from serving.engine.decode import DecodePool, Decoder
from serving.engine.device import Device
from serving.engine.forecast import Forecast
from serving.engine.latency import BatchLatency, Clock, DecodeLatency, WaitCorrection
from serving.engine.model import Loop, Model
from serving.engine.room import Limits, Room
from serving.engine.runner import Runner
from serving.metrics import Metrics


def build(
    bundle: Bundle,
    instances: Sequence[Instance],
    *,
    buckets: Sequence[int],
    decode_threads: int,
    limits: Limits,
    image_limits: ImageLimits,
    metrics: Metrics,
    slo_s: float | None = None,
    clock: Clock = time.monotonic,
) -> Model:
    """Return a model that is neither warm nor started.

    Args:
        bundle: the proved bundle.
        instances: its backends, each on a device (or a share of one) of its own.
        buckets: batch sizes to warm up and run, ascending.
        decode_threads: threads that decode; 0: the devices decode their own batches.
        limits: what may be in flight.
        image_limits: what an image may cost.
        metrics: gets the model's metrics.
        slo_s: time within which 99 of 100 images should be answered, in seconds; None for no limit.
        clock: monotonic time, in seconds.
    """
    manifest = bundle.manifest
    counted = metrics.model(manifest.name, manifest.version, clock)
    crop = manifest.transform.crop
    room, loop = Room(limits, crop.height, crop.width), Loop()
    latency, decode_latency = BatchLatency(clock), DecodeLatency()
    correction = WaitCorrection(clock)
    sizes = Buckets(buckets, latency, slo_s)
    answers = Answers(counted, correction, clock)
    batcher = Batcher(buckets=sizes, latency=latency, answers=answers, clock=clock)
    decode = Decoder(manifest.transform, image_limits, answers, decode_latency, clock)
    decoders = DecodePool(decode_threads, decode, batcher, answers)
    devices = [
        Device(
            instance.backend,
            instance.reopen,
            runner=Runner(instance.backend, sizes, latency, answers, decode, clock),
            buckets=sizes,
            latency=latency,
            batcher=batcher,
            clock=clock,
            gauge=counted.device_ready(f"{instance.backend.describe().device}#{index}"),
            changed=loop.notify,
        )
        for index, instance in enumerate(instances)
    ]
    counted.queue_images.set_function(lambda: len(batcher.queue))
    counted.inflight_images.set_function(lambda: room.taken.images)
    counted.inflight_bytes.set_function(lambda: room.taken.nbytes)
    placed = placement([instance.backend for instance in instances])
    metrics.describe(manifest.name, manifest.version, digest=bundle.digest, **placed._asdict())
    return Model(
        bundle,
        placed,
        buckets,
        admission=Admission(
            room,
            image_limits,
            Forecast(decoders, batcher, sizes, latency, decode_latency, correction),
            batcher,
            (decoders.queue, batcher.queue),
            answers,
            counted,
        ),
        answers=answers,
        decoders=decoders,
        batcher=batcher,
        devices=devices,
        loop=loop,
        clock=clock,
    )
