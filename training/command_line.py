"""What the entries share: settings from the command line, a log, exit codes."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import CliApp, SettingsError

from training import launch
from training.errors import TrainingError
from training.settings.config import CommonConfig
from training.terminal import log_to_stdout

Config = TypeVar("Config", bound=CommonConfig)

FAILED, USAGE, INTERRUPTED = 1, 2, 130


def run(
    settings: type[Config], program: Callable[[Config], None], arguments: Sequence[str] | None
) -> int:
    """Run the program with its settings, in several processes where it is to be distributed.

    Returns the exit code: 0, 1 failed, 2 usage, 130 after Ctrl-C.
    """
    log_to_stdout()
    arguments = list(arguments or sys.argv[1:])
    try:
        config = CliApp.run(settings, cli_args=arguments)
    except ValidationError as error:
        return _fail("\n".join(_explain(error)), USAGE)
    except SettingsError as error:
        return _fail(f"{error}; --help lists every flag and what it takes", USAGE)
    except TrainingError as error:
        return _fail(str(error), USAGE)
    try:
        if launch.needed(config):
            program_name = settings.model_config["cli_prog_name"] or ""
            launch.launch(config, [*program_name.split(), *arguments])
        else:
            program(config)
    except TrainingError as error:
        return _fail(str(error), FAILED)
    except KeyboardInterrupt:
        # To msrun any other code is a failure; the launcher knows better, and answers 130.
        return 0 if launch.LAUNCHED in os.environ else INTERRUPTED
    return 0


def _explain(error: ValidationError) -> Iterator[str]:
    for mistake in error.errors():
        # A default that derives from another setting, which is wrong itself.
        if mistake["type"] != "default_factory_not_called":
            flag = f"--{mistake['loc'][0]}: " if mistake["loc"] else ""
            yield flag + mistake["msg"]


def _fail(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code
