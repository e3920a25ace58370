"""What the entries share: settings from the command line, a log, exit codes."""

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, CliApp, SettingsError

from training.errors import RecipeError, TrainingError
from training.terminal import log_to_stdout

Config = TypeVar("Config", bound=BaseSettings)

FAILED, USAGE, INTERRUPTED = 1, 2, 130


def run(
    settings: type[Config], program: Callable[[Config], None], arguments: Sequence[str] | None
) -> int:
    """Run the program with its settings; return 0, 1 failed, 2 usage, 130 after Ctrl-C."""
    log_to_stdout()
    try:
        config = CliApp.run(settings, cli_args=list(arguments or sys.argv[1:]))
    except ValidationError as error:
        return _fail("\n".join(_explain(e["loc"], e["msg"]) for e in error.errors()), USAGE)
    except (SettingsError, RecipeError) as error:
        return _fail(str(error), USAGE)
    try:
        program(config)
    except TrainingError as error:
        return _fail(str(error), FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _explain(location: tuple[int | str, ...], message: str) -> str:
    return f"--{location[0]}: {message}" if location else message


def _fail(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code
