"""What can go wrong in training.

ValueError
 +-- TrainingError        the message says what was wrong and what would be right
      +-- RecipeError        there is no such recipe, or it holds what is no setting
      +-- ArchitectureError  the family has no such member
      +-- DatasetError       no usable dataset where one was asked for
      |    +-- BrokenImageError  a file of it is no readable image
      +-- CheckpointError    missing, damaged, or it does not fit the network
      +-- OutputError        a file of the run cannot be written
      +-- DeviceError        the platform asked for is not on this machine
      +-- DivergedError      the loss is no longer a number
"""


class TrainingError(ValueError):
    """Training or evaluation cannot go on; the message says what would be right."""


class RecipeError(TrainingError):
    """There is no such recipe, or it holds what is no setting."""


class ArchitectureError(TrainingError):
    """The family has no such member."""


class DatasetError(TrainingError):
    """There is no usable dataset where one was asked for."""


class BrokenImageError(DatasetError):
    """A file of the dataset is no readable image."""


class CheckpointError(TrainingError):
    """A checkpoint is missing, damaged, or does not fit the network."""


class OutputError(TrainingError):
    """A file of the run cannot be written."""


class DeviceError(TrainingError):
    """The platform asked for is not on this machine."""


class DivergedError(TrainingError):
    """The loss is no longer a number."""
