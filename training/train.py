"""`python -m training.train`: train a network; see --help for the settings."""

import logging
import sys
from collections.abc import Sequence

from training.launch import interrupted, run
from training.settings.train_config import TrainConfig

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train as the command line says; return the exit code."""
    return run(TrainConfig, _train, arguments)


def _train(config: TrainConfig) -> int:
    # Imported here, so that --help need not wait for mindspore.
    from images.decoders import configure
    from training import distributed
    from training.run.folder import RunFolder
    from training.run.loop import train

    configure()
    config = distributed.join(config)
    folder = RunFolder.open(config)
    with folder.logging():
        logger.info("run %s on %s: %s", folder.path, config.platform, config.model_dump_json())
        outcome = train(config, folder)
        for line in outcome.metrics.lines() if outcome.metrics else ():
            logger.info(line)
        if best := outcome.best:
            logger.info(
                "best: %.2f%% (TOP1) after epoch %d: %s",
                best.metrics.top1 * 100,
                best.epoch,
                best.path,
            )
    return interrupted() if outcome.stopped else 0


if __name__ == "__main__":
    sys.exit(main())
