"""A run's folder, <ckpt_path>/<time>/, and the checkpoints in it; names are the upstream's."""

import itertools
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from mindspore import nn

from cli.program import revision
from training import distributed
from training.checkpoint import checkpoints
from training.checkpoint.checkpoints import Arrays, CheckpointInfo
from training.data.batches import TrainingData
from training.errors import CheckpointError, TrainingError, writing
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
    def open(cls, config: TrainConfig) -> "RunFolder":
        """Return the folder of the run to resume, or of a new one; raise as `create` does."""
        if config.resume is None:
            return cls.create(config, time.time())
        folder = cls(find_run(config.resume), config.rank, config.ckpt_suffix)
        if config.is_master:
            folder.remove_unfinished()
        return folder

    @classmethod
    def create(cls, config: TrainConfig, now: float) -> "RunFolder":
        """Name the folder of a new run after the local time, in seconds; the master makes it.

        A run that starts in the same second as others has a number after that.

        Raises OutputError if it cannot be made.
        """
        now = distributed.agree(int(now), config)
        name = f"{datetime.fromtimestamp(now):%Y-%m-%d_%H-%M-%S}"
        number = _make(config.ckpt_path / name) if config.is_master else 0
        number = distributed.agree(number, config)
        return cls(_numbered(config.ckpt_path / name, number), config.rank, config.ckpt_suffix)

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
        """Within the context, write the log to train.log too, and at the end why it failed.

        Of other processes than the master only that: all of them append to the one file.
        """
        try:
            with self._logging() if self.rank == 0 else nullcontext():
                yield
        except Exception as error:
            reason = str(error) if isinstance(error, TrainingError) else repr(error)
            with suppress(OSError), self._log.open("a") as log:  # the disk may be what failed
                log.write(f"{datetime.now():%Y-%m-%d %H:%M:%S}:ERROR:rank {self.rank}: {reason}\n")
            raise

    @property
    def _log(self) -> Path:
        return self.path / "train.log"

    @contextmanager
    def _logging(self) -> Iterator[None]:
        handler = logging.FileHandler(self._log)
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


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}_{number}") if number else path


def _make(path: Path) -> int:
    """Make the folder, or the first with a number after its name that is not there; return that."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count():
            with suppress(FileExistsError):
                _numbered(path, number).mkdir()
                return number
    raise AssertionError("numbers do not end")


class Best(NamedTuple):
    """The checkpoint of the evaluation with the best top-1 of a run."""

    path: Path
    epoch: int
    metrics: Metrics


class Saver:
    """Writes checkpoints of a network: the newest, and the best by top-1.

    Attributes:
        best: the best so far; None before the first evaluation.
    """

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
            pooling=net.pooling,
            eval_mirror=net.eval_mirror,
            num_classes=config.classes,
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
        self.best = self._found() if config.resume else None

    def save_newest(self, epoch: int, step: int, metrics: Metrics | None, state: Arrays) -> None:
        """Write all that resuming needs; keep only the newest `keep_checkpoint_max` of these."""
        if self._config.saves_checkpoints:
            path = self._folder.step_checkpoint(step, self._data.steps_per_epoch)
            self._save(path, epoch, step, metrics, state)
            self._folder.remove_old(self._config.keep_checkpoint_max)

    def save_if_best(self, epoch: int, step: int, metrics: Metrics) -> None:
        """Write best_acc if this top-1 is above all others of the run."""
        if not self._config.save_best_ckpt:
            return
        if self.best and metrics.top1 <= self.best.metrics.top1:
            return
        self.best = Best(self._folder.best, epoch, metrics)
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

    def _found(self) -> Best | None:
        """Return the best checkpoint of the run that is resumed."""
        path = self._folder.best
        if not path.exists():
            return None
        try:
            info = checkpoints.load(path).info
        except CheckpointError as error:
            # A run killed between renaming two files leaves a .json without its weights.
            logger.warning("%s; the next evaluation writes it again", error)
            return None
        return Best(path, info.epoch, info.metrics) if info.metrics else None
