"""Puts a model together: only here is written which part knows which.

Each part knows only those above it:

    what is known            Room, BatchLatency, DecodeLatency, WaitCorrection, Buckets
    what runs alone          Wide
    what runs again          Shadow, if the server gives the model one
    how jobs end             Answers
    how batches form         Batcher
    what works               Decoder, DecodePool, Runner, Device
    what takes too long      Watch
    which images may enter   Forecast, Admission
    the whole                Model
"""

import math
import time
from collections.abc import Mapping, Sequence
from functools import partial

from bundle.store import Bundle
from images.limits import ImageLimits
from serving.backends.backend import Backend, Instance, placement
from serving.engine.admission import Admission
from serving.engine.answers import Answers
from serving.engine.batcher import Batcher
from serving.engine.buckets import Buckets
from serving.engine.decode import DecodePool, Decoder, Decoding
from serving.engine.decode_latency import DecodeLatency
from serving.engine.device import Device
from serving.engine.forecast import Forecast
from serving.engine.latency import BatchLatency, Clock, WaitCorrection
from serving.engine.model import Loop, Model
from serving.engine.room import Limits, Room
from serving.engine.runner import Runner
from serving.engine.watch import Watch, Watched
from serving.engine.wide import Wide
from serving.metrics import Metrics


def build(
    bundle: Bundle,
    instances: Sequence[Instance],
    *,
    buckets: Sequence[int],
    decode_threads: int,
    background_threads: int,
    limits: Limits,
    share: float = 1.0,
    image_limits: ImageLimits,
    metrics: Metrics,
    slo_s: float | None = None,
    overdue_s: float = math.inf,
    wide: Backend | None = None,
    clock: Clock = time.monotonic,
) -> Model:
    """Return a model that is neither warm nor started.

    Args:
        bundle: the proved bundle.
        instances: its backends, each on a device (or a share of one) of its own.
        buckets: batch sizes to warm up and run, ascending.
        decode_threads: threads that decode; 0: the devices decode their own batches.
        background_threads: threads that decode the images that are slow to decode.
        limits: what may be in flight.
        share: what one caller may take of that; 1: callers are not told apart.
        image_limits: what an image may cost.
        metrics: gets the model's metrics.
        slo_s: time within which 99 of 100 images should be answered, in seconds; None for no limit.
        overdue_s: time after which a decode, a run or a reopening is overdue, in seconds.
        wide: runs a batch on the cores of all instances while no other runs; None: nothing does.
        clock: monotonic time, in seconds.
    """
    manifest = bundle.manifest
    counted = metrics.model(manifest.name, manifest.version, clock)
    crop = manifest.transform.crop
    room, loop = Room(limits, crop.height, crop.width, share), Loop()
    latency, decode_latency = BatchLatency(clock), DecodeLatency()
    correction = WaitCorrection(clock)
    sizes = Buckets(buckets, latency, slo_s)
    answers = Answers(counted, correction, clock)
    alone = None
    if wide:
        alone = Wide(wide, buckets=sizes, instances=len(instances), latency=latency, clock=clock)
    batcher = Batcher(buckets=sizes, latency=latency, answers=answers, clock=clock, wide=alone)
    shared = manifest.transform, image_limits, answers, decode_latency, clock
    pooled = batcher, answers, clock
    background = DecodePool(background_threads, Decoder(*shared), *pooled, in_background=True)
    decode = Decoder(*shared, longest_s=sizes.decode_limit_s, pass_on=background.take_over)
    decoders = DecodePool(decode_threads, decode, *pooled)
    names = [f"{one.backend.describe().device}#{index}" for index, one in enumerate(instances)]
    devices = [
        Device(
            name,
            instance.backend,
            instance.reopen,
            runner=Runner(instance.backend, sizes, latency, answers, decode, clock, alone),
            buckets=sizes,
            latency=latency,
            batcher=batcher,
            clock=clock,
            gauge=counted.device_ready(name),
            changed=loop.notify,
        )
        for name, instance in zip(names, instances, strict=True)
    ]
    admission = Admission(
        room,
        image_limits,
        Forecast(batcher, sizes, latency, decode_latency, correction),
        batcher,
        answers,
        counted,
    )
    admission.decodings = (Decoding(decoders, background),)
    watched = _watched((decoders, background), dict(zip(names, devices, strict=True)), batcher)
    counted.queue_images.set_function(lambda: len(batcher.queue))
    counted.background_images.set_function(lambda: admission.slow_images)
    counted.inflight_images.set_function(lambda: room.taken.images)
    counted.inflight_bytes.set_function(lambda: room.taken.nbytes)
    placed = placement([instance.backend for instance in instances])
    metrics.describe(manifest.name, manifest.version, digest=bundle.digest, **placed._asdict())
    return Model(
        bundle,
        placed,
        buckets,
        admission=admission,
        decode_latency=decode_latency,
        answers=answers,
        decoders=decoders,
        background=background,
        batcher=batcher,
        devices=devices,
        open_another=instances[0].reopen,
        wide=alone,
        watch=Watch(manifest.name, watched, overdue_s, loop.notify, counted),
        loop=loop,
        metrics=counted,
        clock=clock,
    )


def _watched(
    pools: Sequence[DecodePool], devices: Mapping[str, Device], batcher: Batcher
) -> list[Watched]:
    """Return what the watch looks at, and whom it tells."""
    return [
        *(
            Watched(f"{pool.name} thread {number}", worker, pool.fail_if_lost, lambda: None)
            for pool in pools
            for number, worker in enumerate(pool.workers)
        ),
        *(
            Watched(
                name,
                device.runner.worker,
                partial(batcher.suspend, device),
                partial(batcher.resume, device),
            )
            for name, device in devices.items()
        ),
    ]
