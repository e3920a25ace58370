"""The training run: one callable from a config to a folder of checkpoints and reports."""

import itertools
import logging
import time
from collections.abc import Callable
from typing import NamedTuple

import mindspore
from mindspore import Tensor, nn

from training import distributed
from training.checkpoint import checkpoints
from training.checkpoint.networks import initial_network
from training.data.batches import TrainingData, open_test_set, open_training_set
from training.data.dataset import Dataset
from training.data.prefetch import Prefetcher
from training.evaluation import Evaluator
from training.metrics import Metrics
from training.optimizers import freeze
from training.run.folder import Best, RunFolder, Saver
from training.run.interrupts import Interrupted, stop_on_interrupt
from training.run.log import Progress
from training.run.patience import evaluation_due, has_stalled
from training.run.profiling import StepProfile
from training.run.report import EpochHistory, EpochRecord, Report
from training.schedules import learning_rates
from training.settings.files import check_same_settings, check_same_size, newest_checkpoint
from training.settings.train_config import TrainConfig
from training.step import TrainingStep
from training.trackers.tracker import Ending, Tracking, open_tracker

logger = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """How a run ended.

    Attributes:
        metrics: of the final evaluation; None without one.
        best: the checkpoint of the best evaluation; None if none was kept.
        stopped: whether a signal ended it early.
    """

    metrics: Metrics | None
    best: Best | None
    stopped: bool


def train(config: TrainConfig, folder: RunFolder) -> Outcome:
    """Train as configured, or until SIGINT or SIGTERM; the last step's checkpoint is written.

    Raises DatasetError or CheckpointError for unusable input, OutputError, DivergedError, and
    TrackerError if the tracker cannot begin.
    """
    mindspore.set_seed(config.seed)
    trainer = Trainer(config, folder)
    ending: Ending = "FAILED"
    try:
        with stop_on_interrupt() as stop, trainer.progress, trainer.profile:
            trainer.make_up(stop.is_set)
            while not (trainer.finished or trainer.stopped):
                trainer.run_epoch(stop.is_set)
        trainer.save_step()
        ending = "KILLED" if trainer.stopped else "FINISHED"
    finally:
        trainer.tracking.close(ending)
    if trainer.stopped:
        distributed.wait_for_all(config)  # the first process to leave ends the others
    return Outcome(trainer.metrics, trainer.best, trainer.stopped)


class Trainer:
    """Network, data and optimiser of one run, advanced an epoch at a time."""

    def __init__(self, config: TrainConfig, folder: RunFolder) -> None:
        self._folder, self._report = folder, Report(folder.path)
        dataset = open_training_set(config)
        self._config = config = config.model_copy(update={"num_classes": len(dataset.class_names)})
        test_set = open_test_set(config, dataset) if config.run_eval else None
        self._data = TrainingData(dataset, config)
        net = initial_network(config)
        freeze(net, config.freeze)
        rates = learning_rates(config, self._data.steps_per_epoch)
        self._step = TrainingStep(net, rates, config, self._data.class_weights)
        self._net = self._step.network
        self._saver = Saver(self._net, config, folder, dataset.class_names, self._data)
        self._evaluator = None if test_set is None else _evaluator(self._net, test_set, config)
        self.progress = Progress(len(rates), config.log_interval)
        self.epoch, self.step, self.stopped = 0, 0, False
        self._saved = 0, 0
        self._history = EpochHistory()
        self.metrics: Metrics | None = None
        if config.resume is not None:
            self._resume()
        for shared in dict.fromkeys((net, self._net)):
            distributed.share(shared, config)
        profiled = config.profile if config.is_master else None
        self.profile = StepProfile(folder.path, profiled, config.platform)
        self.tracking = self._tracking()  # last: from here on, the caller closes it

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
        self._evaluate(asked_to_stop)
        if self._config.is_master:
            per_step = self._config.images_per_step * self._config.group_size
            speed = (self._data.steps_per_epoch - first) * per_step / seconds
            wait = batches.wait_s / seconds
            self._add_record(loss, history.skipped_steps, seconds, speed, wait)
        # After the record: a run that resumes from this checkpoint keeps the records up to here.
        if self._config.save_each_epoch:
            self.save_step()

    def make_up(self, asked_to_stop: Callable[[], bool]) -> None:
        """Evaluate the last epoch of a resumed run, if a signal kept it from that."""
        between = self.step and self.step == self.epoch * self._data.steps_per_epoch
        if between and self.metrics is None:
            self._evaluate(asked_to_stop)
            if self.metrics and self._config.is_master:
                record = self._report.evaluated(self.metrics)
                # The rest of the epoch is there already.
                self.tracking.add(record.model_dump(include={"step", "top1", "top5", "eval_loss"}))

    def save_step(self) -> None:
        """Write the checkpoint that bears the current epoch and step in its name, if not done."""
        if self.step and (self.epoch, self.step) != self._saved:
            state = self._step.state() | self._history.arrays()
            self._saver.save_newest(self.epoch, self.step, self.metrics, state)
            self._saved = self.epoch, self.step

    @property
    def best(self) -> Best | None:
        """The checkpoint of the best evaluation so far."""
        return self._saver.best

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or top-1 has stopped rising for as long as patience goes."""
        best = self.best.epoch if self.best else 0
        return self.epoch >= self._config.max_epoch or has_stalled(self.epoch, best, self._config)

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

    def _tracking(self) -> Tracking:
        if not self._config.is_master:
            return Tracking(None)
        settings = self._config.model_dump(mode="json")
        return Tracking(open_tracker(self._config.tracker, self._folder.path, self.step, settings))

    def _train_step(self, images: Tensor, labels: Tensor) -> None:
        self._history.add(*self._step(images, labels))
        self.step += 1
        self.profile.step()
        self.progress.advance()
        if self.progress.due:
            loss, rate = self._history.latest_loss, self._step.rate
            self.progress.line(self.epoch + 1, loss, rate, self._config.images_per_step)
        if self.step % self._config.ckpt_interval == 0:
            self.save_step()

    def _agree_to_stop(self, asked: Callable[[], bool]) -> bool:
        """Return whether any process is asked to stop, the same in all of them.

        Agreement waits for the device, so a group seeks it only every `stop_interval` steps.
        """
        if self._config.group_size > 1 and self.step % self._config.stop_interval:
            return False
        return distributed.any_of(asked(), self._config)

    def _evaluate(self, asked_to_stop: Callable[[], bool]) -> None:
        if self._evaluator is None or not evaluation_due(self.epoch, self._config):
            return

        batches = itertools.count(1)
        common = self._evaluator.common_batches

        def after_batch() -> None:
            # Only after batches that every process has: each of them must ask the others.
            if next(batches) <= common and distributed.any_of(asked_to_stop(), self._config):
                raise Interrupted

        try:
            self.metrics = self._evaluator.evaluate(after_batch).metrics
        except Interrupted:
            logger.info("epoch %d: not evaluated to the end", self.epoch)
            self.stopped = True
            return
        logger.info("epoch %d: %s", self.epoch, self.metrics.lines()[1])
        self._saver.save_if_best(self.epoch, self.step, self.metrics)
        if self.finished and self.epoch < self._config.max_epoch:
            logger.info("no better top-1 in %d evaluations: the run ends", self._config.patience)

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
            eval_loss=self.metrics.loss if self.metrics else None,
            skipped_steps=skipped,
            loss_scale=self._step.scale,
            untracked=self.tracking.waiting,
        )
        self._report.add(record)
        logger.info(record.line())
        self.tracking.add(record.model_dump())


def _evaluator(net: nn.Cell, test_set: Dataset, config: TrainConfig) -> Evaluator:
    return Evaluator(
        net,
        test_set,
        config.transform,
        config.normalization,
        config.eval_per_batch_size,
        config,
    )
