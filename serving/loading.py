"""Bundle directory -> proven and warm model."""

import logging
import os
import time
from pathlib import Path

from export.contract.bundle import Bundle
from serving.backends import Device, choose_file, load
from serving.config import ServingConfig
from serving.engine.model import Model
from serving.metrics import Metrics
from serving.selftest import prove

logger = logging.getLogger(__name__)


def load_model(path: Path, config: ServingConfig, metrics: Metrics) -> Model:
    """Check, load, prove and warm the bundle at `path`; slow, and not for the event loop.

    Raises:
        BundleError: the bundle is damaged, or does not answer as it was recorded.
        StartupError: it cannot run on this device in this precision.
    """
    started = time.monotonic()
    bundle = Bundle.open(path)
    device = Device.parse(config.device)
    file = choose_file(bundle.manifest, device, config.precision)
    backends = load(
        bundle.path,
        bundle.manifest,
        file,
        device=device,
        instances=count_instances(config, device),
        threads=config.threads,
    )
    buckets = config.buckets or sorted(file.buckets)
    prove(bundle, file, backends, buckets)
    model = Model(
        bundle,
        backends,
        buckets=buckets,
        decode_threads=config.decode_threads,
        max_inflight_images=config.max_inflight_images,
        max_image_pixels=config.max_image_pixels,
        metrics=metrics,
    )
    model.warm_up()
    seconds = time.monotonic() - started
    _log(model, len(backends), config.threads, seconds)
    return model


def count_instances(config: ServingConfig, device: Device) -> int:
    """Return how many batches run at once on a device."""
    if config.instances:
        return config.instances
    # One-thread batches side by side answer more images per second than one batch on all cores.
    cores = len(os.sched_getaffinity(0))
    return max(1, cores // config.threads) if device.kind == "cpu" else 1


def _log(model: Model, instances: int, threads: int, seconds: float) -> None:
    logger.info(
        "%s/%s: %s on %s in %s, %d instances x %d threads, batches of %s, ready after %.1f s",
        model.name,
        model.version,
        *model.placement,
        instances,
        threads,
        list(model.buckets),
        seconds,
    )
