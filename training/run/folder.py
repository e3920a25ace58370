"""A run's folder, <ckpt_path>/<time>/, and the checkpoints in it; names are the upstream's."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from mindspore import nn

from cli.program import revision
from training.checkpoint import checkpoints
from training.checkpoint.checkpoints import Arrays, CheckpointInfo
from training.data.batches import TrainingData
from training.errors import CheckpointError, writing
from training.metrics import Metrics
from training.run.log import FORMAT
from training.settings.files import find_run, step_checkpoints
from training.settings.train_config import TrainConfig

LATEST = "latest"

logger = logging.getLogger(__name__)


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

        Raises OutputError if it cannot.
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
        """The checkpoint after this many steps; its name counts epochs and their steps from 1."""
        epochs, steps = divmod(step - 1, steps_per_epoch)
        return self._checkpoints / f"{self.rank}-{epochs + 1}_{steps + 1}{self.suffix}"

    def remove_old(self, keep: int) -> None:
        """Remove all but the newest checkpoints of this process; best_acc is not one of them."""
        for path in step_checkpoints(self._checkpoints)[:-keep]:
            # The weights first: a checkpoint exists as long as they do.
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
        """Within the context, write the log to train.log too."""
        handler = logging.FileHandler(self.path / "train.log")
        handler.setFormatter(logging.Formatter(FORMAT))
        logging.getLogger().addHandler(handler)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(handler)
            handler.close()

    def publish(self) -> None:
        """Let <ckpt_path>/latest point here, atomically; raise OutputError if it cannot."""
        latest, link = self.path.parent / LATEST, self.path.parent / f".{self.path.name}.link"
        with writing(latest):
            link.unlink(missing_ok=True)  # left by a killed process
            link.symlink_to(self.path.name)
            link.replace(latest)


class Saver:
    """Writes checkpoints of a network: the newest, and the best by top-1."""

    def __init__(
        self,
        net: nn.Cell,
        config: TrainConfig,
        folder: RunFolder,
        class_names: list[str],
        data: TrainingData,
    ) -> None:
        self._net, self._config, self._folder, self._data = net, config, folder, data
        self._info = CheckpointInfo(
            architecture=config.architecture,
            num_classes=config.num_classes,
            labels=class_names,
            transform=config.transform,
            normalization=config.normalization,
            config=config.model_dump(mode="json"),
            epoch=0,
            step=0,
            training_images=data.count,
            steps_per_epoch=data.steps_per_epoch,
            versions={"mindspore": version("mindspore"), "revision": revision()},
        )
        self._best = self._best_top1() if config.resume else -1.0

    def save_newest(self, epoch: int, step: int, metrics: Metrics | None, state: Arrays) -> None:
        """Write all that resuming needs; keep only the newest `keep_checkpoint_max` of these."""
        if self._config.saves_checkpoints:
            path = self._folder.step_checkpoint(step, self._data.steps_per_epoch)
            self._save(path, epoch, step, metrics, state)
            self._folder.remove_old(self._config.keep_checkpoint_max)

    def save_if_best(self, epoch: int, step: int, metrics: Metrics) -> None:
        """Write best_acc if this top-1 is above all others of the run."""
        if not self._config.save_best_ckpt or metrics.top1 <= self._best:
            return
        self._best = metrics.top1
        if self._config.is_master:
            self._save(self._folder.best, epoch, step, metrics)
            self._folder.publish()

    def _save(
        self,
        path: Path,
        epoch: int,
        step: int,
        metrics: Metrics | None,
        state: Arrays | None = None,
    ) -> None:
        now = {"epoch": epoch, "step": step, "metrics": metrics}
        checkpoints.save(self._net, self._info.model_copy(update=now), path, state)
        logger.info("saved %s", path)

    def _best_top1(self) -> float:
        if not self._folder.best.exists():
            return -1.0
        try:
            metrics = checkpoints.load(self._folder.best).info.metrics
        except CheckpointError as error:
            # A run killed between renaming two files leaves a .json without its weights.
            logger.warning("%s; the next evaluation writes it again", error)
            return -1.0
        return metrics.top1 if metrics else -1.0
