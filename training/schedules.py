"""Learning rate per step, float32, as the upstream scripts compute it (its `lr_generator.py`).

`python -m training.schedules docs/schedules.svg` draws each schedule.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from training.settings.train_config import TrainConfig

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rates = NDArray[np.float32]

# Of the picture.
STEPS_PER_EPOCH = 10
TITLES = {"cosine_annealing": "cosine_annealing", "multistep": "multistep, exponential"}


def learning_rates(config: TrainConfig, steps_per_epoch: int) -> Rates:
    """Return the rate of each step of a run, shape (max_epoch * steps_per_epoch,)."""
    changes = steps_per_epoch if config.lr_per_step else 1  # in an epoch
    epochs = np.arange(config.max_epoch * changes) / changes
    if config.lr_scheduler == "cosine_annealing":
        scheduled = cosine(epochs, config.lr, config.T_max, config.eta_min)
    else:
        scheduled = multistep(epochs, config.lr, config.lr_epochs, config.lr_gamma)
    rates = np.repeat(scheduled, steps_per_epoch // changes)
    warmup = linear_warmup(config.lr, config.warmup_epochs * steps_per_epoch)
    rates[: len(warmup)] = warmup
    return rates.astype(np.float32)


def linear_warmup(lr: float, steps: int) -> NDArray[np.float64]:
    """Return lr * (i + 1) / steps for i in 0..steps-1."""
    return lr * np.arange(1, steps + 1) / max(steps, 1)


def cosine(
    epochs: NDArray[np.float64], lr: float, t_max: int, eta_min: float
) -> NDArray[np.float64]:
    """Cosine annealing (Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5), without restarts.

    Not shifted by the warm-up. The paper's changes with every step, and `epochs` are fractions
    then (`lr_per_step`); the upstream's is stepped per epoch.
    """
    return eta_min + (lr - eta_min) * (1 + np.cos(np.pi * epochs / t_max)) / 2


def multistep(
    epochs: NDArray[np.float64], lr: float, milestones: Sequence[int], gamma: float
) -> NDArray[np.float64]:
    """Return lr times gamma for each milestone (an epoch, from 0) that has been reached."""
    decays: NDArray[np.intp] = np.searchsorted(sorted(milestones), epochs, side="right")
    return lr * np.power(float(gamma), decays)


def draw(path: Path) -> None:
    """Write a picture of both schedules: with the upstream's settings, and in a short run."""
    import matplotlib as mpl  # here, because training draws no schedule
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    whole, short = figure.subplots(1, 2, sharey=True)
    whole.set_title("the upstream's settings")
    short.set_title("10 epochs, 2 of warm-up, lr_epochs 5,8")
    _plot(whole, TrainConfig())
    _plot(short, TrainConfig(max_epoch=10, T_max=10, warmup_epochs=2, lr_epochs=(5, 8)))
    whole.set_ylabel("learning rate")
    whole.legend()
    with mpl.rc_context({"svg.hashsalt": "schedules"}):  # the same file each time
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _plot(axes: "Axes", config: TrainConfig) -> None:
    for name, title in TITLES.items():
        named = config.model_copy(update={"lr_scheduler": name})
        rates = learning_rates(named, STEPS_PER_EPOCH)
        axes.step(np.arange(len(rates)) / STEPS_PER_EPOCH, rates, where="post", label=title)
    axes.set_xlabel("epoch")
    axes.grid(alpha=0.3)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m training.schedules FILE.svg")
    draw(Path(sys.argv[1]))
