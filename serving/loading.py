"""Bundle directory -> proved and warm model."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EAGAIN, ENOMEM
from functools import cached_property, partial
from pathlib import Path

from bundle.keys import KeyFileError, PublicKey
from bundle.manifest import ModelFile
from bundle.signature import open_signed
from bundle.store import Bundle, BundleError
from cli.cores import usable_cores
from serving.backends.backend import Backend, Instance
from serving.backends.devices import Device, parse_devices
from serving.backends.runtimes import choose, load
from serving.backends.settings import Runtime, RuntimeSettings
from serving.config import ServingConfig
from serving.engine.build import build
from serving.engine.model import Model
from serving.engine.room import Limits
from serving.engine.wide import candidates
from serving.errors import ProcessLostError, StartupError
from serving.memory import release_freed_memory
from serving.metrics import Metrics
from serving.proof import Prover
from serving.threads import in_foreground, is_in_background
from serving.tune.use import with_tuned

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loader:
    """One file of a bundle and how it runs: opens backends that have proved themselves."""

    bundle: Bundle
    file: ModelFile
    buckets: list[int]
    settings: RuntimeSettings
    runtime: Runtime | None = None

    def open(self, device: Device, instances: int) -> list[Instance]:
        """Return this many instances on a device; raise as `load_model` does."""
        reopen = partial(self._reopen, device)
        backends = self._open(device, instances, self.buckets)
        return [Instance(backend, reopen) for backend in backends]

    def widen(self, instances: Sequence[Instance], threads: int) -> Backend | None:
        """Return a backend that runs a batch on this many threads, over the instances' weights.

        None if their runtime offers none. Raises as `load_model` does.
        """
        widen = partial(instances[0].backend.widen, threads)
        wide = widen()
        if wide:
            self._proved([wide], candidates(self.buckets, len(instances)), alike=True)
        if wide and is_in_background():  # its threads, too: good for a proof, and for nothing else
            wide.close()
            wide = in_foreground(widen)
        return wide

    def _reopen(self, device: Device, buckets: Sequence[int]) -> Backend:
        """Open an instance again, after failures that say nothing of the device.

        A GPU on which that fails is lost: CUDA may keep an error that no message of a batch showed,
        and all attempts would be in vain.
        """
        try:
            [backend] = self._open(device, 1, buckets)
        except StartupError as error:
            if device.kind not in ("cuda", "tensorrt"):
                raise
            raise ProcessLostError(
                f"{device} cannot be reopened in this process: {error}"
            ) from error
        return backend

    def _open(self, device: Device, instances: int, buckets: Sequence[int]) -> list[Backend]:
        opening = partial(
            load,
            self.bundle.path,
            self.bundle.manifest,
            self.file,
            runtime=self.runtime,
            device=device,
            instances=instances,
            buckets=buckets,
            settings=self.settings,
        )
        # What computes on the thread that asks may be opened by one of low priority. The threads
        # and processes that others start would keep that.
        is_plain = self.runtime == "onnxruntime" and self.settings.threads == 1
        backends = opening() if is_plain else in_foreground(opening)
        self._proved(backends, buckets, alike=device.kind == "cpu")
        return backends

    def _proved(self, backends: Sequence[Backend], buckets: Sequence[int], *, alike: bool) -> None:
        """Prove backends, or close them unless the process has lost their device."""
        try:
            self._prover.prove(backends, buckets, alike=alike)
        except ProcessLostError:
            raise
        except BaseException:
            for backend in backends:
                backend.close()
            raise

    @cached_property
    def _prover(self) -> Prover:
        """One for all devices and every reopening: it reads and decodes the golden images once."""
        return Prover(self.bundle, self.file)


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


def open_bundle(path: Path, config: ServingConfig) -> Bundle:
    """Check the bundle at `path`: its signature first, if one is required, then its seal.

    The files of the keys are read each time, so a key that is exchanged counts for the next bundle.

    Raises:
        BundleError: it is not signed by one of the keys, or damaged.
    """
    if not config.require_signature:
        return Bundle.open(path)
    try:
        keys = [PublicKey.read(file) for file in config.require_signature]
    except KeyFileError as error:
        raise BundleError(f"{path} cannot be checked: --require-signature: {error}") from error
    bundle, key = open_signed(path, keys)
    logger.info("%s: signed by %s", path, key)
    return bundle


@within_limits()
def load_bundle(bundle: Bundle, config: ServingConfig, metrics: Metrics) -> Model:
    """Load, prove and warm up a bundle; slow, so not for the event loop.

    Raises:
        BundleError: its answers differ from the recorded ones.
        StartupError: it cannot run on these devices in this precision, or needs too much.
    """
    started = time.monotonic()
    config = with_tuned(bundle, config)
    devices = parse_devices(config.device)
    if devices[0].kind == "cpu":
        _check_threads(config.threads)
    runtime, file = choose(
        bundle.manifest, devices[0], config.precision, config.runtime, config.lite_python
    )
    buckets = list(config.buckets or file.buckets)
    loader = Loader(bundle, file, buckets, config.runtime_settings, runtime)
    instances = [
        instance
        for device in devices
        for instance in loader.open(device, count_instances(config, device))
    ]
    wide_threads = count_wide_threads(config, devices[0], len(instances))
    model = build(
        bundle,
        instances,
        wide=loader.widen(instances, wide_threads) if wide_threads > 1 else None,
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
    )
    model.warm_up()
    release_freed_memory()
    _log(model, len(instances), config.threads, time.monotonic() - started)
    return model


def _check_threads(threads: int) -> None:
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


def _log(model: Model, instances: int, threads: int, seconds: float) -> None:
    logger.info(
        "%s/%s: %s on %s in %s, %d instances x %d threads, "
        "%d decode threads (%s), batches of %s, ready after %.1f s",
        model.name,
        model.version,
        *model.placement,
        instances,
        threads,
        model.decoders.threads,
        usable_cores(),
        list(model.buckets),
        seconds,
    )
