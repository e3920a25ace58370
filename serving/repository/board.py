"""What has become of each version, for the index, the metrics, and whoever asks for it."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Literal, NamedTuple

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from bundle.versions import age
from serving.repository.folders import Look

OUTCOME = ("model", "outcome")


class Status(StrEnum):
    """The states of a version."""

    IDLE = "idle"  # nothing asks for it
    INVALID = "invalid"  # its folder holds no bundle that verifies, or none yet
    FAILED = "failed"  # it cannot be loaded, or does not prove itself
    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"  # it answers what it has


class Version(NamedTuple):
    """One version, loaded or not.

    Attributes:
        path: its folder.
        reason: why it is not ready; empty if it is.
        look: what its folder looked like when it got this status.
    """

    name: str
    version: str
    path: Path
    status: Status
    reason: str = ""
    look: Look = ()


class Board(Collector):
    """The state of each version; only the event loop may call."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._versions: dict[tuple[str, str], Version] = {}
        # Not by version: that would leave a series behind for each that was ever loaded.
        self._loads = Counter(
            "serving_loads_total", "Loads of a version by outcome", OUTCOME, registry=registry
        )
        registry.register(self)

    def note(self, version: Version) -> None:
        """Set the state of a version."""
        # It may name a file in bytes that are no UTF-8, which no answer could hold.
        reason = version.reason.encode(errors="backslashreplace").decode()
        self._versions[version.name, version.version] = version._replace(reason=reason)

    def get(self, name: str, version: str) -> Version | None:
        """Return the state of a version, if it is known."""
        return self._versions.get((name, version))

    def forget(self, name: str, version: str) -> None:
        """Forget a version, if it is known."""
        self._versions.pop((name, version), None)

    def count(self, name: str, outcome: Literal["ok", "failed"]) -> None:
        """Count a load."""
        self._loads.labels(name, outcome).inc()

    def all(self) -> list[Version]:
        """Return all versions, by name, then oldest first."""
        return sorted(self._versions.values(), key=lambda one: (one.name, age(one.version)))

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the states for a scrape."""
        family = GaugeMetricFamily(
            "serving_version_state",
            "1 for the state that the version is in, 0 for the others",
            labels=("model", "version", "state"),
        )
        for one in self.all():
            for status in Status:
                family.add_metric((one.name, one.version, status), float(one.status is status))
        yield family
