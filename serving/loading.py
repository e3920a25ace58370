"""Checked bundle -> proved and warm model."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from errno import EAGAIN, ENOMEM
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from bundle.manifest import ModelFile
from bundle.store import Bundle
from cli.cores import usable_cores
from serving.backends.devices import Device, parse_devices
from serving.backends.runtimes import choose, seal
from serving.backends.sealed import SealedModel
from serving.backends.settings import Runtime
from serving.config import ServingConfig
from serving.engine.build import build
from serving.engine.latency import Clock
from serving.engine.model import Model
from serving.engine.room import Limits
from serving.engine.warm_up import Measured
from serving.errors import StartupError
from serving.frontend.slots import check_memory
from serving.loader import Loader
from serving.memory import release_freed_memory
from serving.metrics import Metrics
from serving.opening import open_bundle
from serving.shares import (
    check_threads,
    count_background_threads,
    count_decode_threads,
    count_instances,
    count_wide_threads,
)
from serving.tune.use import with_tuned

logger = logging.getLogger(__name__)


class Plan(NamedTuple):
    """What was decided of a bundle before anything is opened.

    `config` has the settings of `python -m serving tune` in it.
    """

    bundle: Bundle
    config: ServingConfig
    devices: Sequence[Device]
    runtime: Runtime
    file: ModelFile
    buckets: list[int]


class Proved(NamedTuple):
    """What a process that has proved a bundle hands to the one that is to serve it."""

    plan: Plan
    measured: Measured
    sealed: SealedModel | None


@contextmanager
def within_limits() -> Iterator[None]:
    """Say what to lower if this machine has no more memory or threads; raise `StartupError`."""
    try:
        yield
    except (MemoryError, OSError, RuntimeError) as error:
        # mmap raises an OSError, Python's threads a bare RuntimeError.
        if isinstance(error, OSError) and error.errno not in (ENOMEM, EAGAIN):
            raise
        if type(error) is RuntimeError and "new thread" not in str(error):
            raise
        raise StartupError(
            f"this machine has not enough memory or threads: {error}; lower --buckets, "
            f"--instances, --threads, --decode-threads, --background-threads or "
            f"--max-inflight-images"
        ) from error


def load_model(path: Path, config: ServingConfig, metrics: Metrics) -> Model:
    """Check, load, prove and warm up the bundle at `path`; raise as the two parts of that do."""
    return load_bundle(open_bundle(path, config), config, metrics)


@within_limits()
def load_bundle(bundle: Bundle, config: ServingConfig, metrics: Metrics) -> Model:
    """Load, prove and warm up a bundle; slow, so not for the event loop.

    Raises:
        BundleError: its answers differ from the recorded ones.
        StartupError: it cannot run on these devices in this precision, or needs too much.
    """
    started, plan = time.monotonic(), _plan(bundle, config)
    model = _assemble(plan, metrics, _seal(plan))
    model.warm_up()
    release_freed_memory()
    _log(model, plan.config.threads, time.monotonic() - started)
    return model


@within_limits()
def prove_bundle(bundle: Bundle, config: ServingConfig, clock: Clock) -> Proved:
    """Do the same for another process, which will serve the bundle; this one cannot.

    Args:
        bundle: the bundle.
        config: how it runs.
        clock: monotonic time without that in which this process is paused, in seconds.

    Raises what `load_bundle` raises.
    """
    started, plan = time.monotonic(), _plan(bundle, config)
    sealed = _seal(plan)
    model = _assemble(plan, Metrics(CollectorRegistry()), sealed, clock=clock)
    measured = model.warm_up()
    _log(model, plan.config.threads, time.monotonic() - started)
    return Proved(plan, measured, sealed)


@within_limits()
def load_proved(proved: Proved, metrics: Metrics) -> Model:
    """Load a bundle that another process of this machine has proved, quickly.

    Raises what `load_bundle` raises.
    """
    model = _assemble(proved.plan, metrics, proved.sealed, is_proved=True)
    model.learn(proved.measured)
    return model


def _plan(bundle: Bundle, config: ServingConfig) -> Plan:
    config = with_tuned(bundle, config)
    devices = parse_devices(config.device)
    if devices[0].kind == "cpu":
        check_threads(config.threads)
    runtime, file = choose(
        bundle.manifest, devices[0], config.precision, config.runtime, config.lite_python
    )
    return Plan(bundle, config, devices, runtime, file, list(config.buckets or file.buckets))


def _seal(plan: Plan) -> SealedModel | None:
    return seal(
        plan.bundle.path,
        plan.bundle.manifest,
        plan.file,
        runtime=plan.runtime,
        device=plan.devices[0],
        buckets=plan.buckets,
        settings=plan.config.runtime_settings,
    )


def _assemble(
    plan: Plan,
    metrics: Metrics,
    sealed: SealedModel | None,
    *,
    is_proved: bool = False,
    clock: Clock = time.monotonic,
) -> Model:
    """Return a model that is open and proved, and not warm."""
    bundle, config, devices, runtime, file, buckets = plan
    if config.frontends:
        crop = bundle.manifest.transform.crop
        check_memory(config.frontends, config.max_inflight_images, crop.height, crop.width)
    loader = Loader(bundle, file, buckets, config.runtime_settings, runtime, sealed)
    instances = [
        instance
        for device in devices
        for instance in loader.open(device, count_instances(config, device), is_proved=is_proved)
    ]
    threads, wide = count_wide_threads(config, devices[0], len(instances)), None
    if threads > 1:
        wide = loader.widen(instances, threads, is_proved=is_proved)
    return build(
        bundle,
        instances,
        wide=wide,
        buckets=buckets,
        decode_threads=count_decode_threads(config, devices[0]),
        background_threads=count_background_threads(config),
        limits=Limits(
            config.max_inflight_images, config.max_inflight_bytes, config.max_inflight_pixels
        ),
        share=config.max_share,
        image_limits=config.image_limits,
        slo_s=config.slo_ms / 1000 if config.slo_ms else None,
        overdue_s=config.overdue_s,
        metrics=metrics,
        clock=clock,
    )


def _log(model: Model, threads: int, seconds: float) -> None:
    logger.info(
        "%s/%s: %s on %s in %s, %d instances x %d threads, "
        "%d decode threads (%s), batches of %s, ready after %.1f s",
        model.name,
        model.version,
        *model.placement,
        len(model.devices),
        threads,
        model.decoders.threads,
        usable_cores(),
        list(model.buckets),
        seconds,
    )
