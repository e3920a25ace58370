"""`python -m training.eval`: evaluate a checkpoint; see --help for the settings."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import Progress

from training.checkpoint import torch_file
from training.errors import CheckpointError, DivergedError
from training.launch import STOP_SIGNALS, interrupted, run
from training.run.log import CONSOLE
from training.settings.config import EvalConfig
from training.settings.files import SUFFIXES, step_checkpoints

if TYPE_CHECKING:
    from training.data.dataset import Dataset

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate as the command line says; return the exit code."""
    with ended_at_once():
        return run(EvalConfig, _evaluate, arguments)


@contextmanager
def ended_at_once() -> Iterator[None]:
    """Within the context, end this process as soon as SIGINT or SIGTERM comes: nothing is unsaved.

    A handler would run once the graph has, which takes half a minute with a large network. So a
    thread waits for the byte that Python writes when a signal arrives. A SIGINT that arrives within
    a graph is MindSpore's, which sends this process SIGTERM.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    wakeup = signal.set_wakeup_fd(writer)
    before = {number: signal.signal(number, lambda *_: None) for number in STOP_SIGNALS}

    def end() -> None:
        if os.read(reader, 1):
            logger.info("interrupted")
            os._exit(interrupted())

    threading.Thread(target=end, name="interrupt", daemon=True).start()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        os.close(writer)


def _evaluate(config: EvalConfig) -> int:
    # Imported here, so that --help need not wait for mindspore.
    from images.decoders import configure
    from training import distributed
    from training.data.datasets import log_contents, open_dataset

    configure()
    config = distributed.join(config)
    dataset = open_dataset(config.data_dir, "test")
    log_contents(dataset)
    folder = config.report_path / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    if not config.pretrained.is_dir():
        _evaluate_one(config.pretrained, dataset, config, folder)
        return 0
    failed = []
    for path in _checkpoints(config.pretrained):
        try:
            _evaluate_one(path, dataset, config, folder)
        except (CheckpointError, DivergedError) as error:
            logger.error("%s", error)  # noqa: TRY400 - the message is for the user
            failed.append(path.name)
    if failed:
        raise CheckpointError(f"not evaluated, for the reasons above: {', '.join(failed)}")
    return 0


def _evaluate_one(path: Path, dataset: "Dataset", config: EvalConfig, folder: Path) -> None:
    from training.checkpoint.networks import open_trained
    from training.evaluation import EvaluationReport, Evaluator

    trained = open_trained(path, config.architecture, config.transform)
    net, _, classes, labels, transform, normalization = trained
    _check_classes(path, config.data_dir, dataset.class_names, labels or classes)
    logger.info("load model %s success", path)
    evaluator = Evaluator(net, dataset, transform, normalization, config.per_batch_size, config)
    with Progress(console=CONSOLE, transient=True, disable=not CONSOLE.is_terminal) as bar:
        task = bar.add_task(path.name, total=evaluator.batches)
        evaluation = evaluator.evaluate(partial(bar.advance, task))
    for line in evaluation.lines():
        logger.info(line)
    if config.is_master:
        picture = EvaluationReport.of(path, dataset, evaluation).write(folder, path.stem)
        logger.info("accuracy and confusion of each class: %s", picture)


def _check_classes(path: Path, data_dir: Path, names: list[str], known: list[str] | int) -> None:
    """Compare the names of classes if the checkpoint has them, else their number."""
    if isinstance(known, int) and len(names) != known:
        raise CheckpointError(f"{path} knows {known} classes; {data_dir} has {len(names)}")
    if isinstance(known, list) and names != known:
        raise CheckpointError(
            f"{path} knows the classes {', '.join(known)}; {data_dir} has {', '.join(names)}"
        )


def _checkpoints(path: Path) -> list[Path]:
    """Return those of steps in the order in which they were written, then the others by name."""
    known = (*SUFFIXES, *torch_file.SUFFIXES)
    others = sorted(file for file in path.iterdir() if file.suffix in known)
    found = list(dict.fromkeys([*step_checkpoints(path), *others]))
    if not found:
        raise CheckpointError(f"no {' or '.join(known)} file in {path}")
    return found


if __name__ == "__main__":
    sys.exit(main())
