"""What a replica is told, in the words of the server's flags, and its share of a node."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from serving.backends.devices import parse_devices
from serving.config import ServingConfig
from serving.errors import StartupError
from serving.settings.limits import LimitSettings
from serving.settings.models import ModelSettings
from serving.settings.page import PageSettings
from serving.settings.signature import SignatureSettings

# The others are of ports, of who may call, and of models that change while the server runs: Ray has
# its own ports, and all replicas get other models together, by a deployment.
GROUPS = LimitSettings, ModelSettings, PageSettings, SignatureSettings
KNOWN = {name for group in GROUPS for name in group.model_fields} | {
    "default_timeout_ms",
    "log_level",
} - {"max_transfer_bytes"}


def read(settings: Mapping[str, Any]) -> ServingConfig:
    """Return the settings of a replica, given as the server's flags with `_` for `-`.

    Raises:
        StartupError: they name what a replica has not, or are wrong.
    """
    if unknown := sorted(settings.keys() - KNOWN):
        raise StartupError(
            f"a replica has no setting {', '.join(unknown)}: ports, TLS and the access log are "
            f"those of Ray's proxies; it has {', '.join(sorted(KNOWN))}"
        )
    try:
        return ServingConfig(**settings)
    except ValidationError as error:
        raise StartupError(
            "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        ) from None


def within_share(settings: Mapping[str, Any], cpus: float) -> dict[str, Any]:
    """Return the settings, with as many threads as a replica has CPUs where they say nothing.

    Ray reserves CPUs and holds nobody to them: without this each of several replicas on a node
    would take all its cores. A replica that has reserved none takes what it finds.
    """
    if cpus < 1:
        return dict(settings)
    device, threads = str(settings.get("device", "cpu")), int(settings.get("threads", 1))
    return thread_counts(device, threads, int(cpus)) | dict(settings)


def thread_counts(device: str, threads: int, cores: int) -> dict[str, int]:
    """Return the settings of an engine that has some cores of a machine: as many threads as those.

    Args:
        device: the flag.
        threads: of a batch.
        cores: how many.
    """
    counts = {"background_threads": cores, "decode_threads": cores}
    if parse_devices(device)[0].kind == "cpu":
        counts["instances"] = max(1, cores // threads)
        if threads == 1:  # the instances take all cores, and decode for themselves
            counts["decode_threads"] = 0
    return counts
