"""`python -m export`: bundles from a checkpoint, or `from-onnx`; convert, verify, inspect, diff."""

import logging
import sys
from collections.abc import Sequence

from cli import program
from cli.program import Command
from export.audit.config import DiffConfig, InspectConfig, VerifyConfig
from export.config import ConvertConfig, ExportConfig, FromOnnxConfig


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code."""
    return program.main(COMMANDS, _errors, arguments)


# The imports are inside, so that --help need not wait for them.
def _errors() -> tuple[type[Exception], ...]:
    from bundle.store import BundleError
    from export.errors import ExportError
    from training.errors import TrainingError

    return ExportError, BundleError, TrainingError


def _from_checkpoint(config: ExportConfig) -> None:
    from export.checkpoint import from_checkpoint
    from export.pipeline import export_bundle
    from export.report import show_export

    _prepare()
    show_export(*export_bundle(from_checkpoint(config), config))


def _from_onnx(config: FromOnnxConfig) -> None:
    from export.foreign.source import from_onnx
    from export.pipeline import export_bundle
    from export.report import show_export

    _prepare()
    show_export(*export_bundle(from_onnx(config), config))


def _convert(config: ConvertConfig) -> None:
    from export.lite.bundle_copy import convert
    from export.report import show_conversion

    _prepare()
    show_conversion(*convert(config))


def _verify(config: VerifyConfig) -> None:
    from export.audit.verification import require, verify
    from export.report import show_verification

    _prepare()
    verification = verify(config.bundle, config.device, config.images, config.lite_python)
    show_verification(verification)
    require(verification)


def _inspect(config: InspectConfig) -> None:
    from bundle.store import Bundle
    from export.audit.description import as_json, show

    bundle = Bundle.open(config.bundle)
    if config.as_json:
        print(as_json(bundle))
    else:
        show(bundle)


def _diff(config: DiffConfig) -> int:
    from bundle.store import Bundle
    from export.audit.difference import differences, show

    found = list(differences(Bundle.open(config.a), Bundle.open(config.b)))
    show(found)
    return int(bool(found))


def _prepare() -> None:
    """Log to standard error, and set up the decoders."""
    from images.decoders import configure

    configure()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")


COMMANDS = {
    "": Command(ExportConfig, _from_checkpoint),
    "from-onnx": Command(FromOnnxConfig, _from_onnx),
    "convert": Command(ConvertConfig, _convert),
    "verify": Command(VerifyConfig, _verify),
    "inspect": Command(InspectConfig, _inspect),
    # Exit codes as of `diff`: 1 for a difference, 2 if it cannot tell.
    "diff": Command(DiffConfig, _diff, failure=2),
}


if __name__ == "__main__":
    sys.exit(main())
