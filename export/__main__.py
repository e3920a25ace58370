"""`python -m export`: turn a checkpoint into a bundle; `from-onnx`: turn an ONNX file into one."""

import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pydantic import ValidationError
from pydantic_settings import BaseSettings, CliApp

from export.config import ExportConfig
from export.contract.bundle import BundleError
from export.errors import ExportError
from export.foreign.config import FromOnnxConfig
from training.errors import TrainingError


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 for a bundle, 1 where it cannot be made, 2 for a wrong call."""
    words = list(arguments or sys.argv[1:])
    command = COMMANDS.get(words[0]) if words else None
    settings, run = command or CHECKPOINT
    try:
        config = CliApp.run(settings, cli_args=words[1:] if command else words)
    except ValidationError as error:
        return _fail(_explain(error, kebab=bool(settings.model_config.get("cli_kebab_case"))), 2)
    try:
        run(config)
    except (ExportError, BundleError, TrainingError) as error:
        return _fail(str(error), 1)
    return 0


# The imports are inside, so that --help need not wait for them.
def _from_checkpoint(config: ExportConfig) -> None:
    from export.checkpoint import from_checkpoint
    from export.pipeline import export_bundle
    from export.progress import log_to_stderr
    from export.report import show

    log_to_stderr()
    show(export_bundle(from_checkpoint(config), config))


def _from_onnx(config: FromOnnxConfig) -> None:
    from export.foreign.source import from_onnx
    from export.pipeline import export_bundle
    from export.progress import log_to_stderr
    from export.report import show

    log_to_stderr()
    show(export_bundle(from_onnx(config), config))


def _explain(error: ValidationError, *, kebab: bool) -> str:
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    name = str(first["loc"][0])
    return f"--{name.replace('_', '-') if kebab else name}: {message}"


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


class Command(NamedTuple):
    """Settings from the command line, and what to do with them."""

    settings: type[BaseSettings]
    run: Callable[..., None]


CHECKPOINT = Command(ExportConfig, _from_checkpoint)
COMMANDS = {"from-onnx": Command(FromOnnxConfig, _from_onnx)}


if __name__ == "__main__":
    sys.exit(main())
