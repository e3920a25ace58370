"""A run on a Ray cluster: Ray Data hands shards to actors, each of which holds one engine.

Only the numbers of shards travel through Ray: an actor reads the plan and the images, and writes
the rows. Ray Data starts a shard again on another actor if its own died, or its node; rows that
were written twice are the same, under one name.
"""

import logging
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would call home

import ray
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError

from bundle.store import BundleError
from cli.cores import usable_cores
from deploy.batch.errors import DatasetError, EngineLostError
from deploy.batch.run import make_worker
from deploy.batch.settings import DatasetConfig
from deploy.ray.settings import thread_counts
from serving.backends.devices import parse_devices
from serving.config import ServingConfig
from serving.errors import ServingError
from serving.lifecycle import DEVICE_LOST

# The time in which a cluster must accept a connection, in seconds.
REACH_S = 10.0
# What Ray calls the devices that actors ask for; a CPU's cores are asked for in any case.
RESOURCES = {"cuda": "GPU", "tensorrt": "GPU", "ascend": "NPU"}


class Share(NamedTuple):
    """What each engine has of the cluster, and how many engines there are."""

    engines: int
    cores: int
    devices: int
    resource: str | None


class Shards:
    """What an actor does, as Ray Data calls it, on several threads at once."""

    def __init__(self, config: DatasetConfig, cores: int) -> None:
        self._worker, self._error = None, ""
        try:
            self._worker = make_worker(config, _settings(config, cores))
        except (BundleError, DatasetError, ServingError) as error:
            # Raised here, it would have Ray start the actor again and again.
            self._error = _placed(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Classify one shard; return how many images it had, or why it failed."""
        images = 0
        error = self._error
        if self._worker and not error:
            try:
                images = self._worker.attempt(int(batch["shard"][0]))
            except EngineLostError:
                os._exit(DEVICE_LOST)  # Ray starts another process, which may have the device
            except DatasetError as failure:
                error = _placed(failure)
        return {"images": [images], "error": [error]}


def run_on_ray(config: DatasetConfig, shards: Sequence[int], tell: Callable[[int], None]) -> None:
    """Classify shards on the cluster that the settings name; raise `DatasetError`."""
    _connect(config.ray_address)
    share = _share(config)
    DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    numbers = ray.data.from_items(
        [{"shard": shard} for shard in shards], override_num_blocks=len(shards)
    )
    wants = {share.resource: share.devices} if share.resource not in (None, "GPU") else None
    done = numbers.map_batches(
        Shards,
        fn_constructor_args=(config, share.cores),
        batch_size=1,
        compute=ActorPoolStrategy(
            size=min(share.engines, len(shards)),
            max_tasks_in_flight_per_actor=config.readers,
            max_concurrent_calls_per_actor=config.readers,
            enable_true_multi_threading=True,
        ),
        num_cpus=share.cores,
        num_gpus=share.devices if share.resource == "GPU" else None,
        resources=wants,
    )
    try:
        for row in done.iter_rows():
            if row["error"]:
                raise DatasetError(row["error"])
            tell(row["images"])
    except RayError as error:
        raise DatasetError(f"Ray gave up: {str(error).strip().splitlines()[-1]}") from error


def _connect(address: str) -> None:
    quiet = {"logging_level": "ERROR", "log_to_driver": False}
    try:
        if address == "local":
            ray.init(address="local", include_dashboard=False, **quiet)
        else:
            _check_reachable(os.environ.get("RAY_ADDRESS", "") if address == "auto" else address)
            ray.init(address=address, **quiet)
    except (OSError, ValueError, RayError) as error:
        reason = str(error).partition("\n")[0]
        raise DatasetError(
            f"--ray-address {address}: {reason}; start a cluster (ray start --head), or say "
            f"--ray-address local"
        ) from error


def _check_reachable(address: str) -> None:
    """Raise an `OSError` if nobody listens at host:port, where Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "//" not in host:
        socket.create_connection((host, int(port)), timeout=REACH_S).close()


def _share(config: DatasetConfig) -> Share:
    """Return what the cluster has for engines; raise `DatasetError` if that is nothing."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    devices = parse_devices(config.device)
    resource = RESOURCES.get(devices[0].kind)
    has_cores = [node for node in nodes if node.get("CPU", 0) >= 1]
    if resource is None:
        smallest = min((int(node["CPU"]) for node in has_cores), default=1)
        cores = config.worker_cpus or smallest
        fitting = sum(int(node["CPU"]) // cores for node in has_cores)
        lacking = f"{cores} cores"
    else:
        fits = [(node, int(node.get(resource, 0)) // len(devices)) for node in has_cores]
        shares = [int(node["CPU"]) // count for node, count in fits if count]
        cores = config.worker_cpus or max(1, min(shares, default=1))
        fitting = sum(min(count, int(node["CPU"]) // cores) for node, count in fits)
        lacking = f"{len(devices)} {resource} and {cores} cores"
    if (config.workers or 1) > fitting:
        raise DatasetError(
            f"the Ray cluster has room for {fitting} engines of {lacking} each; its nodes have "
            f"{'; '.join(map(_told, nodes))}"
        )
    return Share(config.workers or fitting, cores, len(devices) if resource else 0, resource)


def _told(node: dict[str, float]) -> str:
    return ", ".join(f"{node[name]:g} {name}" for name in ("CPU", "GPU", "NPU") if name in node)


def _settings(config: DatasetConfig, cores: int) -> ServingConfig:
    """Return the settings of an engine that has some of a machine's cores: threads for those."""
    cores = min(cores, usable_cores().usable)
    counts = thread_counts(config.device, config.threads, cores)
    return config.serving(
        **{name: count for name, count in counts.items() if getattr(config, name) is None}
    )


def _placed(error: Exception) -> str:
    return f"on {socket.gethostname()}: {error}"
