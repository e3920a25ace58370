"""What both programs share: a log, and starting the other processes of a distributed run."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from cli.program import INTERRUPTED, Command, main
from training import launch
from training.errors import TrainingError
from training.run.log import log_to_stdout
from training.settings.config import CommonConfig

Config = TypeVar("Config", bound=CommonConfig)


def run(
    settings: type[Config], program: Callable[[Config], int], arguments: Sequence[str] | None
) -> int:
    """Run the program with its settings, in several processes if it is to be distributed.

    Returns the exit code, which is the program's unless something fails (see cli/program.py).
    """
    log_to_stdout()
    words = list(sys.argv[1:] if arguments is None else arguments)

    def start(config: Config) -> int:
        if not launch.needed(config):
            return program(config)
        module = settings.model_config["cli_prog_name"] or ""
        launch.launch(config, [*module.split(), *words])
        return 0

    return main({"": Command(settings, start)}, lambda: (TrainingError,), words)


def interrupted() -> int:
    """Return the exit code of a process that has stopped because it was asked to.

    To msrun any code but 0 is a failure; the launcher that started msrun answers 130 itself.
    """
    return 0 if launch.LAUNCHED in os.environ else INTERRUPTED
