"""What runs in the process that loads a model: the load, and the measurements around it."""

import asyncio
import logging
import os
from collections import defaultdict
from pathlib import Path

from prometheus_client import CollectorRegistry

import serving.server  # noqa: F401 - its memory is part of what any server takes
from bundle.files import BundleError
from cli.cgroups import lines
from images.decoders import configure
from serving.config import ServingConfig
from serving.doctor.load import Failed, Loaded
from serving.engine.model import Model
from serving.errors import ServingError
from serving.loading import load_model, within_limits
from serving.metrics import Metrics
from serving.shares import count_background_threads

BROKEN = "copy, export or sign it again, until python -m export verify accepts it (--public-key)"
UNFIT = "change the settings that it names; python -m serving devices says what runs here"
SHARED = "/dev/shm/"  # noqa: S108 - looked for among the mapped files


def measure(path: Path, config: ServingConfig) -> Loaded | Failed:
    """Load, prove, warm up and start the bundle at `path`, and close it again."""
    os.dup2(2, 1)  # what libraries print does not belong into the report
    log = _Log()
    logging.basicConfig(level=logging.INFO, handlers=[log])
    configure()
    before = _status()
    try:
        model = load_model(path, config, Metrics(CollectorRegistry()))
        after = asyncio.run(_run(model))
    except BundleError as error:
        return Failed(path, str(error), BROKEN, log.warnings)
    except ServingError as error:
        return Failed(path, str(error), UNFIT, log.warnings)
    crop = model.bundle.manifest.transform.crop
    return Loaded(
        path,
        model.name,
        model.version,
        images_per_s=_images_per_s(model),
        program_bytes=before["RssAnon"],
        loaded_bytes=after["RssAnon"] + after["RssShmem"] - before["RssAnon"],
        peak_bytes=after["VmHWM"] - before["VmRSS"],
        address_bytes=after["VmPeak"],
        shared_bytes=after[SHARED],
        slot_bytes=crop.height * crop.width * 3,
        decoders=(model.decoders.threads or len(model.devices)) + count_background_threads(config),
        threads=after["Threads"],
        log=dict(log.said),
        warnings=log.warnings,
    )


async def _run(model: Model) -> dict[str, int]:
    """Return what the process takes while the model could answer."""
    with within_limits():
        model.start()
    status = _status()
    await asyncio.to_thread(model.close)
    return status


class _Log(logging.Handler):
    """Keeps what each logger says, warnings apart."""

    def __init__(self) -> None:
        super().__init__()
        self.said = defaultdict[str, list[str]](list)
        self.warnings: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        is_warning = record.levelno >= logging.WARNING
        (self.warnings if is_warning else self.said[record.name]).append(record.getMessage())


def _images_per_s(model: Model) -> float:
    """Return what the instances answered during the warm-up, in the best of the batch sizes."""
    times = {size: model.devices[0].latency.at_warm_up(size) for size in model.buckets}
    return len(model.devices) * max(size / seconds for size, seconds in times.items() if seconds)


def _status() -> dict[str, int]:
    """Return what the kernel counts of this process, and the mapped part of /dev/shm; in bytes."""
    mapped = (line.split()[0] for line in lines(Path("/proc/self/maps")) if SHARED in line)
    ranges = ([int(address, 16) for address in each.split("-")] for each in mapped)
    found = {SHARED: sum(end - start for start, end in ranges)}
    for line in lines(Path("/proc/self/status")):
        name, _, text = line.partition(":")
        match text.split():
            case [number, "kB"]:
                found[name] = int(number) * 1024
            case [number] if number.isdecimal():
                found[name] = int(number)
    return found
