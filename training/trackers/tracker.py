"""What a tracker is, which there are, and how a run outlives one that fails."""

import logging
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from training.errors import TrackerError

Ending = Literal["FINISHED", "KILLED", "FAILED"]
Name = Literal["tensorboard", "mlflow", "wandb", "none"]
Values = Mapping[str, float]

logger = logging.getLogger(__name__)


class Tracker(Protocol):
    """Takes what a run reports; it raises whatever its package raises."""

    def config(self, settings: Mapping[str, Any]) -> None:
        """Take the settings of the run, as JSON has them."""

    def epoch(self, step: int, values: Values) -> None:
        """Take an epoch: the numbers of its line in metrics.jsonl, by name, after this step."""

    def close(self, ending: Ending) -> None:
        """Take how the run ended; nothing follows."""


class Epoch(NamedTuple):
    """What a tracker is to take of an epoch."""

    step: int
    values: Values


class Tracking:
    """Hands a run's epochs to its tracker, if it has one; a tracker that fails is told of once.

    It does not end the run. What it did not take it is offered again, after the next epoch and at
    the end.
    """

    def __init__(self, tracker: Tracker | None) -> None:
        self._tracker = tracker
        self._waiting: list[Epoch] = []
        self._failed = False

    @property
    def waiting(self) -> int:
        """Number of epochs that the tracker has not taken."""
        return len(self._waiting)

    def add(self, record: Mapping[str, Any]) -> None:
        """Offer an epoch, as metrics.jsonl has it."""
        if self._tracker is not None:
            numbers = {k: float(v) for k, v in record.items() if isinstance(v, int | float)}
            self._waiting.append(Epoch(int(numbers.pop("step")), numbers))
            self._offer(self._tracker)

    def close(self, ending: Ending) -> None:
        """Offer what is left, and end the tracker's run."""
        if self._tracker is None:
            return
        self._offer(self._tracker)
        try:
            self._tracker.close(ending)
        except Exception as error:  # noqa: BLE001 - of whatever package
            self._tell(error)
        if self._waiting:
            logger.warning("%d epochs are in metrics.jsonl but not tracked", len(self._waiting))

    def _offer(self, tracker: Tracker) -> None:
        try:
            while self._waiting:
                tracker.epoch(*self._waiting[0])
                del self._waiting[0]
        except Exception as error:  # noqa: BLE001 - of whatever package; the run is worth more
            self._tell(error)

    def _tell(self, error: Exception) -> None:
        if not self._failed:
            logger.warning(
                "the tracker has failed (%s: %s); training goes on, metrics.jsonl has every epoch, "
                "and the tracker is offered what it misses after each",
                type(error).__name__,
                error,
            )
        self._failed = True


def check_installed(name: Name) -> Name:
    """Return the name; raise TrackerError, naming the extra, if its package is not here."""
    if name != "none" and find_spec(name) is None:
        raise TrackerError(
            f"the package {name} is not installed here; pip install 'resnext-serving[{name}]', or "
            f"choose another tracker, or none"
        )
    return name


def open_tracker(
    name: Name | None, run: Path, step: int, settings: Mapping[str, Any]
) -> Tracker | None:
    """Return the tracker of a run that has done `step` steps, with the settings handed over.

    Args:
        name: of the tracker; None is TensorBoard if it is installed.
        run: the run's folder. A run that is resumed goes on where it was.
        step: number of steps that the run has done.
        settings: of the run, as JSON has them.

    Raises TrackerError if it cannot be opened.
    """
    if name is None:
        name = "tensorboard" if find_spec("tensorboard") else "none"
    if name == "none":
        return None
    try:
        tracker = _open(name, run, step)
        tracker.config(settings)
    except Exception as error:
        raise TrackerError(
            f"cannot track the run with {name} ({type(error).__name__}: {error}); --tracker none "
            f"trains without"
        ) from error
    return tracker


def _open(name: Name, run: Path, step: int) -> Tracker:
    # Imported here: each needs its package, and one takes seconds to import.
    if name == "tensorboard":
        from training.trackers.tensorboard import TensorBoard

        return TensorBoard(run, step)
    if name == "mlflow":
        from training.trackers.mlflow import Mlflow

        return Mlflow(run)
    from training.trackers.wandb import Wandb

    return Wandb(run)
