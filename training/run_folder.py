"""Where a run keeps its files: <ckpt_path>/<time>/, with the upstream's names inside."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from training.terminal import FORMAT

LATEST = "latest"


@dataclass(frozen=True)
class RunFolder:
    """ckpt_0/0-<epoch>_<step>.ckpt, best_acc.ckpt, metrics.jsonl, training.png, train.log."""

    path: Path

    @classmethod
    def create(cls, ckpt_path: Path) -> "RunFolder":
        """Make the folder of a new run, named after the local time."""
        path = ckpt_path / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
        path.mkdir(parents=True)
        return cls(path)

    @property
    def best(self) -> Path:
        """The checkpoint with the best top-1 so far."""
        return self.path / "best_acc.ckpt"

    def step_checkpoint(self, epoch: int, step: int) -> Path:
        """The checkpoint after so many complete epochs and steps."""
        return self.path / "ckpt_0" / f"0-{epoch}_{step}.ckpt"

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
