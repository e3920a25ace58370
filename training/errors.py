"""What can go wrong in training.

ValueError
 +-- TrainingError        the message says what was wrong and what would be right
      +-- RecipeError        there is no such recipe, or it sets something unknown
      +-- ArchitectureError  the family has no such member, or a member no such part
      +-- DatasetError       there is no usable dataset in the folder
      |    +-- BrokenImageError  one of its files is not a readable image
      +-- CheckpointError    missing, damaged, or it does not fit the network
      +-- OutputError        a file of the run cannot be written
      +-- DeviceError        the platform is not on this machine, or a process has failed
      +-- DivergedError      the loss is no longer a number
      +-- TrackerError       the tracker that was asked for cannot be used
      +-- WorkerError        a process that reads images has died
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class TrainingError(ValueError):
    """Training or evaluation cannot go on; the message says what would be right."""


class RecipeError(TrainingError):
    """There is no such recipe, or it sets something unknown."""


class ArchitectureError(TrainingError):
    """The family has no such member, or a member no such part."""


class DatasetError(TrainingError):
    """There is no usable dataset in the folder."""


class BrokenImageError(DatasetError):
    """A file of the dataset is not a readable image."""


class CheckpointError(TrainingError):
    """A checkpoint is missing, damaged, or does not fit the network."""


class OutputError(TrainingError):
    """A file of the run cannot be written."""


class DeviceError(TrainingError):
    """The platform is not on this machine, or a process of the group has failed."""


class DivergedError(TrainingError):
    """The loss is no longer a number."""


class TrackerError(TrainingError):
    """The tracker that was asked for is not installed, or cannot be opened."""


class WorkerError(TrainingError):
    """A process that reads images has died."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise OutputError if the file cannot be written, as when the disk is full."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; make room there, or choose another "
            f"folder (--ckpt-path in training, --report-path in evaluation); earlier checkpoints "
            f"are unchanged"
        ) from error
