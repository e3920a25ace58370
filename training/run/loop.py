"""The training run: one callable from a config to a folder of checkpoints and reports."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NamedTuple

import mindspore
from mindspore import Tensor, nn

from training import distributed
from training.checkpoint import checkpoints
from training.checkpoint.networks import initial_network
from training.data.batches import TrainingData, open_test_set, open_training_set
from training.data.datasets import Dataset
from training.data.prefetch import Prefetcher
from training.evaluation import Evaluator
from training.metrics import Metrics
from training.run.folder import RunFolder, Saver
from training.run.log import Progress
from training.run.report import EpochHistory, EpochRecord, Report
from training.schedules import learning_rates
from training.settings.files import check_same_settings, check_same_size, newest_checkpoint
from training.settings.train_config import TrainConfig
from training.step import TrainingStep

# MindSpore answers a SIGINT that arrives inside a graph by sending itself SIGTERM.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

logger = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """The final evaluation, None without one, and whether a signal stopped the run early."""

    metrics: Metrics | None
    stopped: bool


def train(config: TrainConfig, folder: RunFolder) -> Outcome:
    """Train as configured, or until SIGINT or SIGTERM; the last step's checkpoint is written.

    Raises DatasetError or CheckpointError for unusable input, OutputError, and DivergedError.
    """
    mindspore.set_seed(config.seed)
    trainer = Trainer(config, folder)
    with stop_on_interrupt() as stop, trainer.progress:
        while trainer.epoch < config.max_epoch and not trainer.stopped:
            trainer.run_epoch(stop.is_set)
    trainer.save_step()
    if trainer.stopped:
        distributed.wait_for_all(config)  # the first process to leave ends the others
    return Outcome(trainer.metrics, trainer.stopped)


@contextmanager
def stop_on_interrupt() -> Iterator[threading.Event]:
    """Yield an event that the first SIGINT or SIGTERM sets; a second one acts as it did before."""
    event = threading.Event()
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        restore()
        logger.info("interrupted: saving after this step; interrupt again to stop at once")
        event.set()

    for number in STOP_SIGNALS:
        signal.signal(number, on_signal)
    try:
        yield event
    finally:
        restore()


class Trainer:
    """Network, data and optimiser of one run, advanced an epoch at a time."""

    def __init__(self, config: TrainConfig, folder: RunFolder) -> None:
        self._config, self._folder, self._report = config, folder, Report(folder.path)
        dataset = open_training_set(config)
        test_set = open_test_set(config, dataset) if config.run_eval else None
        self._data = TrainingData(dataset, config)
        self._net = initial_network(config)
        self._saver = Saver(self._net, config, folder, dataset.class_names, self._data)
        rates = learning_rates(config, self._data.steps_per_epoch)
        self._step = TrainingStep(self._net, rates, config)
        self._evaluator = None if test_set is None else _evaluator(self._net, test_set, config)
        self.progress = Progress(len(rates), config.log_interval)
        self.epoch, self.step, self.stopped = 0, 0, False
        self._history = EpochHistory()
        self.metrics: Metrics | None = None
        if config.resume is not None:
            self._resume()
        distributed.share(self._net, config)

    def run_epoch(self, asked_to_stop: Callable[[], bool]) -> None:
        """Train the rest of an epoch, evaluate and report; return early once `stopped`."""
        self.metrics, start = None, time.monotonic()
        first = self.step - self.epoch * self._data.steps_per_epoch
        batches = Prefetcher(self._data.epoch(self.epoch, first))
        for images, labels in batches:
            self._train_step(Tensor(images), Tensor(labels))
            self.stopped = self._agree_to_stop(asked_to_stop)
            if self.stopped:
                return
        history, loss = self._history, self._history.mean_loss()
        seconds = time.monotonic() - start
        self.epoch, self._history = self.epoch + 1, EpochHistory()
        self._evaluate()
        if self._config.is_master:
            speed = (self._data.steps_per_epoch - first) * self._images_per_step / seconds
            wait = batches.wait_s / seconds
            self._add_record(loss, history.skipped_steps, seconds, speed, wait)

    def save_step(self) -> None:
        """Write the checkpoint that bears the current epoch and step in its name."""
        if self.step:
            state = self._step.state() | self._history.arrays()
            self._saver.save_newest(self.epoch, self.step, self.metrics, state)

    def _resume(self) -> None:
        path = newest_checkpoint(self._folder.path)
        found = checkpoints.load(path)
        check_same_settings(self._config.model_dump(mode="json"), found.info.config)
        before = (found.info.training_images, found.info.steps_per_epoch)
        check_same_size((self._data.count, self._data.steps_per_epoch), before)
        checkpoints.restore(self._net, found.parameters)
        state = checkpoints.read_arrays(path.with_suffix(".npz"))
        self._history = EpochHistory.take_from(state)
        self._step.restore(state)
        self.epoch, self.step, self.metrics = found.info.epoch, found.info.step, found.info.metrics
        self.progress.resume(self.step)
        if self._config.is_master:
            self._report.resume(self.epoch)
        logger.info("resumed from %s: %d epochs, %d steps", path, self.epoch, self.step)

    @property
    def _images_per_step(self) -> int:
        return self._config.per_batch_size * self._config.group_size

    def _train_step(self, images: Tensor, labels: Tensor) -> None:
        self._history.add(*self._step(images, labels))
        self.step += 1
        self.progress.advance()
        if self.progress.due:
            loss, rate = self._history.latest_loss, self._step.rate
            self.progress.line(self.epoch + 1, loss, rate, self._config.per_batch_size)
        if self.step % self._config.ckpt_interval == 0:
            self.save_step()

    def _agree_to_stop(self, asked: Callable[[], bool]) -> bool:
        """Return whether any process is asked to stop, the same in all of them.

        Agreement waits for the device, so a group seeks it only every `stop_interval` steps.
        """
        if self._config.group_size > 1 and self.step % self._config.stop_interval:
            return False
        return distributed.any_of(asked(), self._config)

    def _evaluate(self) -> None:
        if self._evaluator is None or not self._evaluation_due():
            return
        self.metrics = self._evaluator.evaluate().metrics
        logger.info("epoch %d: %s", self.epoch, self.metrics.lines()[1])
        self._saver.save_if_best(self.epoch, self.step, self.metrics)

    def _evaluation_due(self) -> bool:
        since = self.epoch - self._config.eval_start_epoch
        regular = since >= 0 and since % self._config.eval_interval == 0
        return regular or self.epoch == self._config.max_epoch

    def _add_record(
        self, loss: float, skipped: int, seconds: float, speed: float, data_wait_share: float
    ) -> None:
        record = EpochRecord(
            epoch=self.epoch,
            step=self.step,
            loss=loss,
            lr=self._step.rate,
            seconds=seconds,
            images_per_second=speed,
            data_wait_share=data_wait_share,
            top1=self.metrics.top1 if self.metrics else None,
            top5=self.metrics.top5 if self.metrics else None,
            skipped_steps=skipped,
            loss_scale=self._step.scale,
        )
        self._report.add(record)
        logger.info(record.line())


def _evaluator(net: nn.Cell, test_set: Dataset, config: TrainConfig) -> Evaluator:
    return Evaluator(
        net,
        test_set,
        config.transform,
        config.normalization,
        config.eval_per_batch_size,
        config,
    )
