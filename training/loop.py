"""The training run: one callable from a config to a folder of checkpoints and reports."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import mindspore
import numpy as np
from mindspore import Tensor, nn

from training import checkpoints, distributed
from training.checkpoints import CheckpointInfo
from training.config import TrainConfig
from training.data import TrainingData
from training.datasets import Dataset, open_dataset
from training.errors import DatasetError, DivergedError
from training.evaluation import Evaluator
from training.interrupt import stop_on_interrupt
from training.metrics import Metrics
from training.prefetch import Prefetcher
from training.progress import Progress
from training.report import EpochRecord, Report
from training.resnext import build
from training.run_folder import RunFolder
from training.schedules import learning_rates
from training.step import training_step
from training.versions import versions

log = logging.getLogger(__name__)


def train(config: TrainConfig, folder: RunFolder) -> Metrics | None:
    """Train as configured; return the final evaluation, None where `run_eval` is off.

    Raises DatasetError or CheckpointError for unusable input, DivergedError, and after Ctrl-C
    KeyboardInterrupt, once a checkpoint of the current step is written.
    """
    mindspore.set_seed(config.seed)
    trainer = Trainer(config, folder)
    with stop_on_interrupt() as stop, trainer.progress:
        while trainer.epoch < config.max_epoch and not stop.is_set():
            trainer.run_epoch(stop.is_set)
    trainer.save_step()
    if stop.is_set():
        raise KeyboardInterrupt
    return trainer.metrics


class Trainer:
    """Network, data and optimiser of one run, advanced an epoch at a time."""

    def __init__(self, config: TrainConfig, folder: RunFolder) -> None:
        self._config, self._folder, self._report = config, folder, Report(folder.path)
        dataset = _training_set(config)
        test_set = _test_set(config, dataset) if config.run_eval else None
        self._data = TrainingData(dataset, config)
        self._class_names, self._versions = dataset.class_names, versions()
        self._net = _network(config).set_train()
        distributed.share(self._net, config)
        self._rates = learning_rates(config, self._data.steps_per_epoch)
        self._step = training_step(self._net, self._rates, config)
        self._evaluator = None if test_set is None else _evaluator(self._net, test_set, config)
        self.progress = Progress(len(self._rates), config.log_interval)
        self.epoch, self.step, self._best = 0, 0, -1.0
        self.metrics: Metrics | None = None

    def run_epoch(self, stopped: Callable[[], bool]) -> None:
        """Train one epoch, evaluate, save and report; return early once `stopped()`."""
        self.metrics, losses, start = None, [], time.monotonic()
        batches = Prefetcher(self._data.epoch(self.epoch))
        for images, labels in batches:
            losses.append(self._train_step(Tensor(images), Tensor(labels)))
            if self.progress.due:
                self._log(self._finite(float(losses[-1])))
            if stopped():
                return
        loss = self._finite(np.mean([float(value) for value in losses]))
        seconds = time.monotonic() - start
        self.epoch += 1
        self._evaluate()
        self._add_record(loss, seconds, batches.wait_seconds / seconds)

    def save_step(self) -> None:
        """Write the checkpoint that bears the current epoch and step in its name."""
        if self._config.saves_checkpoints:
            self._save(self._folder.step_checkpoint(self.epoch, self.step))

    def _train_step(self, images: Tensor, labels: Tensor) -> Tensor:
        loss = self._step(images, labels)
        self.step += 1
        self.progress.advance()
        if self.step % self._config.ckpt_interval == 0:
            self.save_step()
        return loss

    def _log(self, loss: float) -> None:
        rate = float(self._rates[self.step - 1])
        self.progress.line(self.epoch + 1, loss, rate, self._config.per_batch_size)

    def _finite(self, loss: float | np.floating) -> float:
        if not np.isfinite(loss):
            raise DivergedError(f"the loss is {loss} at step {self.step}; lower --lr")
        return float(loss)

    def _evaluate(self) -> None:
        if self._evaluator is None or not self._evaluation_due():
            return
        self.metrics = self._evaluator.evaluate().metrics
        log.info(f"epoch {self.epoch}: {self.metrics.lines()[1]}")
        if self._config.save_best_ckpt and self.metrics.top1 > self._best:
            self._best = self.metrics.top1
            if self._config.is_master:
                self._save(self._folder.best)
                self._folder.publish()

    def _evaluation_due(self) -> bool:
        since = self.epoch - self._config.eval_start_epoch
        regular = since >= 0 and since % self._config.eval_interval == 0
        return regular or self.epoch == self._config.max_epoch

    def _add_record(self, loss: float, seconds: float, data_wait_share: float) -> None:
        if not self._config.is_master:
            return
        images = self._data.steps_per_epoch * self._config.per_batch_size * self._config.group_size
        record = EpochRecord(
            epoch=self.epoch,
            step=self.step,
            loss=loss,
            lr=float(self._rates[self.step - 1]),
            seconds=seconds,
            images_per_second=images / seconds,
            data_wait_share=data_wait_share,
            top1=self.metrics.top1 if self.metrics else None,
            top5=self.metrics.top5 if self.metrics else None,
        )
        self._report.add(record)
        log.info(
            f"epoch {self.epoch}: loss {loss:.4f}, {record.images_per_second:.0f} img/sec, "
            f"waited for data {data_wait_share:.2%} of the time"
        )

    def _save(self, path: Path) -> None:
        config = self._config
        info = CheckpointInfo(
            architecture=config.architecture,
            num_classes=config.num_classes,
            labels=self._class_names,
            transform=config.transform,
            normalization=config.normalization,
            config=config.model_dump(mode="json"),
            epoch=self.epoch,
            step=self.step,
            metrics=self.metrics,
            versions=self._versions,
        )
        checkpoints.save(self._net, info, path)
        log.info(f"saved {path}")


def _training_set(config: TrainConfig) -> Dataset:
    dataset = open_dataset(config.data_dir, "train")
    found = len(dataset.class_names)
    if found != config.num_classes:
        raise DatasetError(
            f"num_classes={config.num_classes}, but {config.data_dir} has {found} classes; "
            f"say --num_classes {found}"
        )
    return dataset


def _test_set(config: TrainConfig, training_set: Dataset) -> Dataset:
    data_dir = config.eval_data_dir or config.data_dir
    dataset = open_dataset(data_dir, "test")
    if dataset.source == training_set.source:
        raise DatasetError(
            f"the test images would be the training images, all of {dataset.source}; say where "
            f"others are, --eval_data_dir, or --run_eval 0 to train without evaluation"
        )
    if dataset.class_names != training_set.class_names:
        raise DatasetError(
            f"the test images in {data_dir} have the classes {', '.join(dataset.class_names)}, "
            f"the training images {', '.join(training_set.class_names)}"
        )
    return dataset


def _network(config: TrainConfig) -> nn.Cell:
    net = build(config.architecture, config.num_classes)
    if config.pretrained is not None:
        checkpoints.restore(net, checkpoints.load(config.pretrained).parameters)
    return net


def _evaluator(net: nn.Cell, test_set: Dataset, config: TrainConfig) -> Evaluator:
    return Evaluator(
        net,
        test_set,
        config.transform,
        config.normalization,
        config.eval_per_batch_size,
        config,
    )
