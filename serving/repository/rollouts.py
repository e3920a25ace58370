"""The labels that hold: read from the files beside the versions, and changed by calls."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from prometheus_client import Counter, Gauge

from images.limits import ImageLimits
from serving.engine.repository import ModelRepository, Shelf
from serving.engine.rollout import NO_LABELS, SHADOW, Rollout
from serving.errors import (
    InvalidRequestError,
    ModelNotFoundError,
    RepositoryError,
    StartupError,
    UnavailableError,
)
from serving.metrics import Metrics
from serving.repository.rollout_file import ROLLOUT, RolloutError, RolloutFile, read
from serving.repository.rollout_yaml import check_label, check_share
from serving.repository.shadows import Shadows, are_comparable

logger = logging.getLogger(__name__)


class RolloutMetrics:
    """What operators see of labels."""

    def __init__(self, metrics: Metrics) -> None:
        registry = metrics.registry
        self.share = Gauge(
            "serving_label_share",
            "Share of the requests without a version that a label's version gets, 0 to 1; at 0 "
            "only those that name the label",
            ("model", "version", "label"),
            registry=registry,
        )
        self.errors = Counter(
            "serving_rollout_errors_total",
            "Files of labels that were found wrong, so that the labels before them still hold",
            ("model",),
            registry=registry,
        )


class Rollouts:
    """Gives the models of a repository their labels; its methods run on the event loop.

    Labels are kept in `<folder>/<name>/rollout.yaml` and nowhere else: a call changes that file. A
    file that is wrong, or names a version that is not loaded, changes nothing.

    Args:
        folder: of the repository; None without one, and then there are no labels.
        models: the loaded models.
        image_limits: what an image may cost.
        metrics: those of the server.
        has_files: whether this process has images that were answered, and can decode them again.

    Attributes:
        is_starting: whether a file that is wrong keeps the server from starting.
        lock: held from reading a file until its labels hold. Who unloads versions holds it, too:
            else a label might be given to one that is about to go.
    """

    def __init__(
        self,
        folder: Path | None,
        models: ModelRepository,
        image_limits: ImageLimits,
        metrics: Metrics,
        *,
        has_files: bool,
    ) -> None:
        self._folder, self._models, self._has_files = folder, models, has_files
        self._metrics = RolloutMetrics(metrics)
        self._shadows = Shadows(models, image_limits, metrics)
        self._complaints: dict[str, str] = {}
        self._shown: dict[str, Rollout] = {}
        self.is_starting, self.lock = True, asyncio.Lock()

    async def wanted(self, name: str) -> list[str]:
        """Return the versions that the file of a model names; none if it is wrong."""
        try:
            file = await asyncio.to_thread(read, self._path(name))
        except RolloutError:
            return []
        return list(dict.fromkeys(file.rollout.versions.values()))

    async def look(self, name: str) -> None:
        """Hold to the file of a model; call it when its versions came or went, too.

        A file that is wrong is logged and counted once, and the labels stay as they are.

        Raises:
            StartupError: it is wrong, and the server has not started yet.
        """
        async with self.lock:  # before it looks: while it waits, the last version may go
            if not self._models.shelf(name):
                self._drop(name)
                return
            try:
                file = await asyncio.to_thread(read, self._path(name))
                self._check(file, name)
            except RolloutError as error:
                self._complain(name, str(error))
                self._shadows.update(name)
            else:
                self._complaints.pop(name, None)
                self._hold(name, file.rollout)

    async def set(self, name: str, label: str, version: str, share: float = 0.0) -> Shelf:
        """Give a label to a version, and write it down; return what is loaded, with its labels.

        Args:
            name: of the model; empty for the only one.
            label: the label, which another version may have now.
            version: a loaded version, or a label of one.
            share: of the requests without a version, 0 to 1; for a canary.

        Raises:
            InvalidRequestError: that is no label, or no share.
            ModelNotFoundError: the model or the version is not loaded.
            RepositoryError: the file is wrong, or cannot be written.
        """
        try:
            check_label(label)
            check_share(label, share)
        except ValueError as error:
            raise InvalidRequestError(str(error)) from None
        if not version:
            raise InvalidRequestError("a label stands for a version; name one that is loaded")
        model = self._models.get(name, version)
        return await self._change(
            model.name, lambda file: file.with_label(label, model.version, share)
        )

    async def remove(self, name: str, label: str) -> Shelf:
        """Remove a label, and write that down; return and raise as `set` does."""
        name = self._models.get(name, "").name

        def without(file: RolloutFile) -> RolloutFile:
            if label not in file.entries:
                labels = ", ".join(file.entries) or "none"
                raise ModelNotFoundError(
                    f"model {name!r} has no label {label!r}; there are {labels}"
                )
            return file.without_label(label)

        return await self._change(name, without)

    async def close(self) -> None:
        """End all shadows when what they run has ended; one that opens is left to itself."""
        await self._shadows.close()

    @property
    def takes_calls(self) -> bool:
        """Whether calls may change labels."""
        return self._folder is not None

    @property
    def is_busy(self) -> bool:
        """Whether a shadow opens that is to end; nothing can interrupt it."""
        return self._shadows.is_busy

    async def _change(self, name: str, edit: Callable[[RolloutFile], RolloutFile]) -> Shelf:
        if self._folder is None:
            raise RepositoryError(
                "labels are kept in a repository: start the server with --repository"
            )
        path = self._path(name)
        async with self.lock:
            try:
                file = edit(await asyncio.to_thread(read, path))
                self._check(file, name)
                await asyncio.to_thread(file.write)
            except RolloutError as error:
                raise RepositoryError(f"{error}; nothing was changed") from None
            except OSError as error:
                raise RepositoryError(
                    f"{path} cannot be written: {error.strerror}; nothing was changed"
                ) from None
            self._hold(name, file.rollout)
            shelf = self._shelf(name)
        await self._models.known_everywhere()
        return shelf

    def _complain(self, name: str, error: str) -> None:
        if self.is_starting:
            raise StartupError(error) from None
        if self._complaints.get(name) != error:
            self._complaints[name] = error
            self._metrics.errors.labels(name).inc()
            logger.error("%s; the labels stay as they are", error)

    def _hold(self, name: str, rollout: Rollout) -> None:
        """Give a model these labels, and its shadow."""
        self._metrics.errors.labels(name)  # in Prometheus, one that began at 1 has not increased
        if rollout != self._shelf(name).rollout:
            self._models.label(name, rollout)
            self._show(name, rollout)
            logger.info("labels of %s: %s", name, rollout)
        self._shadows.update(name)

    def _drop(self, name: str) -> None:
        """Forget a model that is not loaded any more."""
        self._show(name, NO_LABELS)
        self._complaints.pop(name, None)
        self._metrics.errors.remove(name)
        self._shadows.update(name)

    def _show(self, name: str, rollout: Rollout) -> None:
        """Have the metrics show these labels."""
        for label, version in self._shown.pop(name, NO_LABELS).versions.items():
            self._metrics.share.remove(name, version, label)
        for label, version in rollout.versions.items():
            self._metrics.share.labels(name, version, label).set(rollout.share_of(label))
        self._shown[name] = rollout

    def _path(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / name / ROLLOUT

    def _shelf(self, name: str) -> Shelf:
        if shelf := self._models.shelf(name):
            return shelf
        raise UnavailableError(f"model {name!r} is not loaded any more")

    def _check(self, file: RolloutFile, name: str) -> None:
        """Raise `RolloutError` if a model cannot have these labels, as it is loaded."""
        _check(file, self._shelf(name))
        if SHADOW in file.entries and not self._has_files:
            file.refuse(
                SHADOW,
                "front ends have the images, and the server none that another version could run "
                "again; start it without --frontends, or give the version another label and send "
                "requests to that",
            )


def _check(file: RolloutFile, shelf: Shelf) -> None:
    """Raise `RolloutError` if what is loaded cannot have these labels."""
    for label, entry in file.entries.items():
        if label in shelf.versions:
            file.refuse(label, "there is a version that is called so")
        if entry.version not in shelf.versions:
            loaded = ", ".join(shelf.versions)
            file.refuse(label, f"version {entry.version} is not loaded; loaded: {loaded}")
    labelled = Shelf(shelf.versions, file.rollout)
    if (tried := labelled.labelled.get(SHADOW)) and not are_comparable(tried, labelled.usual):
        file.refuse(
            SHADOW,
            f"version {tried.version} has other classes than version {labelled.usual.version}, "
            f"with whose answers it would be compared",
        )
