"""`python -m training.draw_schedules docs/schedules.svg`: the learning rate of each schedule."""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.optim.schedules import learning_rates
from training.settings.train_config import TrainConfig

STEPS_PER_EPOCH = 10
TITLES = {"cosine_annealing": "cosine_annealing", "multistep": "multistep, exponential"}
UPSTREAM = TrainConfig()
SHORT = TrainConfig(max_epoch=10, T_max=10, warmup_epochs=2, lr_epochs=(5, 8))


def draw(path: Path) -> None:
    """Write a picture of both schedules: with the upstream's settings, and in a short run."""
    figure = Figure(figsize=(9, 3), layout="constrained")
    whole, short = figure.subplots(1, 2, sharey=True)
    whole.set_title("the upstream's settings")
    short.set_title("10 epochs, 2 of warm-up, lr_epochs 5,8")
    _plot(whole, UPSTREAM)
    _plot(short, SHORT)
    whole.set_ylabel("learning rate")
    whole.legend()
    with mpl.rc_context({"svg.hashsalt": "schedules"}):  # the same file each time
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def _plot(axes: Axes, config: TrainConfig) -> None:
    for name, title in TITLES.items():
        named = config.model_copy(update={"lr_scheduler": name})
        rates = learning_rates(named, STEPS_PER_EPOCH)
        axes.step(np.arange(len(rates)) / STEPS_PER_EPOCH, rates, where="post", label=title)
    axes.set_xlabel("epoch")
    axes.grid(alpha=0.3)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
