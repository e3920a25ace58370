"""Where a run keeps its files: <ckpt_path>/<time>/, with the upstream's names inside."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from training.config import TrainConfig
from training.terminal import FORMAT

LATEST = "latest"


@dataclass(frozen=True)
class RunFolder:
    """ckpt_<rank>/<rank>-<epoch>_<step>.ckpt; the master's best_acc.ckpt, report and log."""

    path: Path
    rank: int = 0

    @classmethod
    def create(cls, config: TrainConfig, now: float) -> "RunFolder":
        """Name the folder of a new run after the local time; the master makes it."""
        path = config.ckpt_path / f"{datetime.fromtimestamp(now):%Y-%m-%d_%H-%M-%S}"
        if config.is_master:
            path.mkdir(parents=True)
        return cls(path, config.rank)

    @property
    def best(self) -> Path:
        """The checkpoint with the best top-1 so far."""
        return self.path / "best_acc.ckpt"

    def step_checkpoint(self, epoch: int, step: int) -> Path:
        """The checkpoint after so many complete epochs and steps."""
        return self.path / f"ckpt_{self.rank}" / f"{self.rank}-{epoch}_{step}.ckpt"

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Write the log to train.log as well, within the context."""
        handler = logging.FileHandler(self.path / "train.log")
        handler.setFormatter(logging.Formatter(FORMAT))
        logging.getLogger().addHandler(handler)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(handler)
            handler.close()

    def publish(self) -> None:
        """Let <ckpt_path>/latest point here, atomically."""
        link = self.path.parent / f".{self.path.name}.link"
        link.symlink_to(self.path.name)
        link.replace(self.path.parent / LATEST)
