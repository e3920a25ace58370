"""How much of a machine a model takes: instances and threads, where the settings do not say."""

import logging

from cli.cores import usable_cores
from serving.backends.devices import Device
from serving.config import ServingConfig

logger = logging.getLogger(__name__)


def check_threads(threads: int) -> None:
    """Warn of more threads per batch than this process has cores."""
    if threads > (cores := usable_cores()).usable:
        # They wait for each other in loops that leave the cores to nobody else.
        logger.warning(
            "--threads %d, but this process may use only %s: batches may take several times as "
            "long as with --threads %d",
            threads,
            cores,
            cores.usable,
        )


def count_instances(config: ServingConfig, device: Device) -> int:
    """Return how many batches run at once on a device."""
    if config.instances:
        return config.instances
    # Several one-thread batches at once answer more images per second than one batch on all cores.
    cores = usable_cores().usable
    return max(1, cores // config.threads) if device.kind == "cpu" else 1


def count_wide_threads(config: ServingConfig, device: Device, instances: int) -> int:
    """Return how many threads a wide batch runs on: the cores of all instances; 1 if none is wide.

    Instances of several threads are what somebody chose who would rather have each batch faster.
    """
    may = device.kind == "cpu" and config.threads == 1
    return min(instances, usable_cores().usable) if may else 1


def count_decode_threads(config: ServingConfig, device: Device) -> int:
    """Return how many threads decode for a model whose first device is `device`."""
    if config.decode_threads is not None:
        return config.decode_threads
    cores = usable_cores().usable
    # Instances that need every core decode without other threads in their caches. With a small
    # model and 128 requests in flight this is half again as fast (`python -m benchmarks.ablation`).
    take_all = device.kind == "cpu" and config.threads == 1
    return 0 if take_all and count_instances(config, device) >= cores else cores


def count_background_threads(config: ServingConfig) -> int:
    """Return how many threads decode slow images of a model: enough for all cores.

    Not those beyond a CPU quota: its use stops all threads, whatever their priority.
    """
    return config.background_threads or usable_cores().usable
