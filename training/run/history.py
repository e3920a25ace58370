"""What the steps of an epoch gave, kept on the device until somebody asks."""

from typing import Self

import numpy as np
from mindspore import Tensor
from numpy.typing import NDArray

from training.checkpoint.weight_files import Arrays
from training.errors import DivergedError

LOSSES, FINITE = "losses", "finite"


class EpochHistory:
    """Loss of each step of an epoch, and whether its gradients were finite."""

    def __init__(self) -> None:
        self._losses: list[Tensor | float] = []
        self._finite: list[Tensor | float] = []

    @classmethod
    def take_from(cls, state: Arrays) -> Self:
        """Return the history that `arrays` wrote into a state, and remove it there."""
        history = cls()
        history._losses = state.pop(LOSSES).tolist()
        history._finite = state.pop(FINITE).tolist()
        return history

    def arrays(self) -> Arrays:
        """Return what `take_from` takes, float32 (steps,) each."""
        return {LOSSES: _floats(self._losses), FINITE: _floats(self._finite)}

    def add(self, loss: Tensor, finite: Tensor) -> None:
        """Take a step's loss, and whether its gradients were finite."""
        self._losses.append(loss)
        self._finite.append(finite)

    @property
    def latest_loss(self) -> float:
        """Loss of the latest step; raise DivergedError if it is no number."""
        return _number(float(self._losses[-1]))

    @property
    def skipped(self) -> int:
        """How many steps were skipped because a gradient overflowed."""
        return int((_floats(self._finite) == 0).sum())

    def mean_loss(self) -> float:
        """Mean loss of the steps that were not skipped; raise DivergedError if it is no number."""
        losses = _floats(self._losses)[_floats(self._finite) != 0]
        if not len(losses):
            raise DivergedError(
                "gradients overflowed in every step of the epoch; lower --lr or --loss_scale"
            )
        return _number(float(losses.astype(np.float64).mean()))


def _number(loss: float) -> float:
    if not np.isfinite(loss):
        raise DivergedError(f"the loss is {loss}; lower --lr")
    return loss


def _floats(values: list[Tensor | float]) -> NDArray[np.float32]:
    return np.array([float(value) for value in values], np.float32)
