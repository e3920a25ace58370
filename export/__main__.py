"""`python -m export`: bundles from a checkpoint, or `from-onnx`; convert, verify, inspect, diff."""

import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pydantic import ValidationError
from pydantic_settings import BaseSettings, CliApp

from bundle.store import Bundle, BundleError
from export.audit.config import DiffConfig, InspectConfig, VerifyConfig
from export.config import ExportConfig
from export.errors import ExportError
from export.foreign.config import FromOnnxConfig
from export.lite.config import ConvertConfig
from images.decoders import configure
from training.errors import TrainingError


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 where all is well, 1 where it is not, 2 for a wrong call."""
    words = list(arguments or sys.argv[1:])
    command = COMMANDS.get(words[0]) if words else None
    settings, run, trouble = command or CHECKPOINT
    try:
        config = CliApp.run(settings, cli_args=words[1:] if command else words)
    except ValidationError as error:
        return _fail(_explain(error, kebab=bool(settings.model_config.get("cli_kebab_case"))), 2)
    configure()
    try:
        return run(config) or 0
    except (ExportError, BundleError, TrainingError) as error:
        return _fail(str(error), trouble)


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


def _convert(config: ConvertConfig) -> None:
    from export.lite.conversion import convert
    from export.lite.report import show
    from export.progress import log_to_stderr

    log_to_stderr()
    show(convert(config))


def _verify(config: VerifyConfig) -> None:
    from export.audit.verification import require, verify
    from export.audit.verification_table import show

    verification = verify(config.bundle, config.device, config.images, config.lite_python)
    show(verification)
    require(verification)


def _inspect(config: InspectConfig) -> None:
    from export.audit.description import as_json, show

    bundle = Bundle.open(config.bundle)
    if config.as_json:
        print(as_json(bundle))
    else:
        show(bundle)


def _diff(config: DiffConfig) -> int:
    from export.audit.difference import differences, show

    found = list(differences(Bundle.open(config.a), Bundle.open(config.b)))
    show(found)
    return int(bool(found))


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
    """Settings from the command line, what to do with them, and the exit code of an error."""

    settings: type[BaseSettings]
    run: Callable[..., int | None]
    trouble: int = 1


CHECKPOINT = Command(ExportConfig, _from_checkpoint)
COMMANDS = {
    "from-onnx": Command(FromOnnxConfig, _from_onnx),
    "convert": Command(ConvertConfig, _convert),
    "verify": Command(VerifyConfig, _verify),
    "inspect": Command(InspectConfig, _inspect),
    # As of the diff that everyone knows: 1 where something differs, 2 where it cannot tell.
    "diff": Command(DiffConfig, _diff, trouble=2),
}


if __name__ == "__main__":
    sys.exit(main())
