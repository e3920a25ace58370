"""`python -m training.eval`: evaluate a checkpoint; see --help for the settings."""

import logging
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from training.errors import CheckpointError
from training.launch import run
from training.settings.config import EvalConfig
from training.settings.files import SUFFIXES

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate as the command line says; return the exit code."""
    return run(EvalConfig, _evaluate, arguments)


def _evaluate(config: EvalConfig) -> int:
    # Imported here, so that --help need not wait for mindspore.
    from images.decoders import configure
    from training import distributed
    from training.checkpoint.networks import open_trained
    from training.data.datasets import open_dataset
    from training.evaluation import EvaluationReport, Evaluator

    configure()
    config = distributed.join(config)
    dataset = open_dataset(config.data_dir, "test")
    folder = config.report_path / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    for path in _checkpoints(config.pretrained):
        net, _, classes, labels, transform, normalization = open_trained(path, config.architecture)
        _check_classes(path, config.data_dir, dataset.class_names, labels or classes)
        logger.info("load model %s success", path)
        evaluation = Evaluator(
            net, dataset, transform, normalization, config.per_batch_size, config
        ).evaluate()
        for line in evaluation.lines():
            logger.info(line)
        if config.is_master:
            report = EvaluationReport.of(path, dataset, evaluation)
            picture = report.write(folder, path.stem)
            logger.info("accuracy and confusion of each class: %s", picture)
    return 0


def _check_classes(path: Path, data_dir: Path, names: list[str], known: list[str] | int) -> None:
    """Compare the names of classes if the checkpoint has them, else their number."""
    if isinstance(known, int) and len(names) != known:
        raise CheckpointError(f"{path} knows {known} classes; {data_dir} has {len(names)}")
    if isinstance(known, list) and names != known:
        raise CheckpointError(
            f"{path} knows the classes {', '.join(known)}; {data_dir} has {', '.join(names)}"
        )


def _checkpoints(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
    if not found:
        raise CheckpointError(f"no {' or '.join(SUFFIXES)} file in {path}")
    return found


if __name__ == "__main__":
    sys.exit(main())
