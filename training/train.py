"""`python -m training.train`: train a network; see --help for the settings."""

import logging
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext

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
    folder = RunFolder.open(config, distributed.agree(int(time.time()), config))
    with folder.logging() if config.is_master else nullcontext():
        logger.info("run %s on %s: %s", folder.path, config.platform, config.model_dump_json())
        outcome = train(config, folder)
        for line in outcome.metrics.lines() if outcome.metrics else ():
            logger.info(line)
    return interrupted() if outcome.stopped else 0


if __name__ == "__main__":
    sys.exit(main())
