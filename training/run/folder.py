"""Where a run keeps its files: <ckpt_path>/<time>/, with the upstream's names inside."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from training.settings.config import TrainConfig
from training.settings.resume import find_run, step_checkpoints
from training.terminal import FORMAT
from training.writing import writing

LATEST = "latest"


@dataclass(frozen=True)
class RunFolder:
    """ckpt_<rank>/<rank>-<epoch>_<step>.ckpt; the master's best_acc.ckpt, report and log."""

    path: Path
    rank: int = 0
    suffix: str = ".ckpt"

    @classmethod
    def open(cls, config: TrainConfig, now: float) -> "RunFolder":
        """Return the folder of the run to resume, or of a new one."""
        if config.resume is None:
            return cls.create(config, now)
        folder = cls(find_run(config.resume), config.rank, config.ckpt_suffix)
        if config.is_master:
            folder.remove_unfinished()
        return folder

    @classmethod
    def create(cls, config: TrainConfig, now: float) -> "RunFolder":
        """Name the folder of a new run after the local time; the master makes it.

        Raises OutputError where it cannot.
        """
        path = config.ckpt_path / f"{datetime.fromtimestamp(now):%Y-%m-%d_%H-%M-%S}"
        if config.is_master:
            with writing(path):
                path.mkdir(parents=True)
        return cls(path, config.rank, config.ckpt_suffix)

    @property
    def best(self) -> Path:
        """The checkpoint with the best top-1 so far."""
        return self.path / f"best_acc{self.suffix}"

    def step_checkpoint(self, step: int, steps_per_epoch: int) -> Path:
        """The checkpoint after so many steps; its name counts epochs, and steps in one, from 1."""
        epochs, steps = divmod(step - 1, steps_per_epoch)
        return self._checkpoints / f"{self.rank}-{epochs + 1}_{steps + 1}{self.suffix}"

    def remove_old(self, keep: int) -> None:
        """Remove all but the newest checkpoints of this process; best_acc is not one of them."""
        for path in step_checkpoints(self._checkpoints)[:-keep]:
            # The weights first: a checkpoint is there as long as they are.
            for file in (path, path.with_suffix(".json"), path.with_suffix(".npz")):
                file.unlink(missing_ok=True)

    def remove_unfinished(self) -> None:
        """Remove what a killed process was writing."""
        for folder in self.path.glob("**/.writing-*"):
            shutil.rmtree(folder)

    @property
    def _checkpoints(self) -> Path:
        return self.path / f"ckpt_{self.rank}"

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
        """Let <ckpt_path>/latest point here, atomically; raise OutputError where it cannot."""
        latest, link = self.path.parent / LATEST, self.path.parent / f".{self.path.name}.link"
        with writing(latest):
            link.unlink(missing_ok=True)  # of a killed process
            link.symlink_to(self.path.name)
            link.replace(latest)
