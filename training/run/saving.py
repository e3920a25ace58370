"""The checkpoints that a run writes: the newest, and the best by top-1."""

import logging
from pathlib import Path

from mindspore import nn

from training.checkpoint import checkpoints
from training.checkpoint.checkpoints import CheckpointInfo
from training.checkpoint.weight_files import Arrays
from training.data.batches import TrainingData
from training.errors import CheckpointError
from training.metrics import Metrics
from training.run.folder import RunFolder
from training.settings.config import TrainConfig
from training.versions import versions

log = logging.getLogger(__name__)


class Saver:
    """Writes a network, as often as asked for, with all that its weights mean."""

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
            versions=versions(),
        )
        self._best = self._best_top1() if config.resume else -1.0

    def save_newest(self, epoch: int, step: int, metrics: Metrics | None, state: Arrays) -> None:
        """Write what resuming needs; remove the oldest beyond `keep_checkpoint_max`."""
        if self._config.saves_checkpoints:
            path = self._folder.step_checkpoint(step, self._data.steps_per_epoch)
            self._save(path, epoch, step, metrics, state)
            self._folder.remove_old(self._config.keep_checkpoint_max)

    def save_if_best(self, epoch: int, step: int, metrics: Metrics) -> None:
        """Write best_acc, if this top-1 is above all others of the run."""
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
        log.info(f"saved {path}")

    def _best_top1(self) -> float:
        if not self._folder.best.exists():
            return -1.0
        try:
            metrics = checkpoints.load(self._folder.best).info.metrics
        except CheckpointError as error:
            # Killed between its two renamings, a run leaves a .json without its weights.
            log.warning(f"{error}; the next evaluation writes it anew")
            return -1.0
        return metrics.top1 if metrics else -1.0
