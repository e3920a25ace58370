"""`python -m export`: turn a checkpoint into a bundle."""

import sys
from collections.abc import Sequence

from pydantic import ValidationError
from pydantic_settings import CliApp

from export.config import ExportConfig
from export.contract.bundle import BundleError
from export.errors import ExportError
from training.errors import TrainingError


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 for a bundle, 1 where it cannot be made, 2 for a wrong call."""
    try:
        config = CliApp.run(ExportConfig, cli_args=list(arguments or sys.argv[1:]))
    except ValidationError as error:
        return _fail(_explain(error), 2)
    try:
        _export(config)
    except (ExportError, BundleError, TrainingError) as error:
        return _fail(str(error), 1)
    return 0


def _export(config: ExportConfig) -> None:
    # Here, so that --help need not wait for them.
    from export.checkpoint import from_checkpoint
    from export.pipeline import export_bundle
    from export.progress import log_to_stderr
    from export.report import show

    log_to_stderr()
    show(export_bundle(from_checkpoint(config), config))


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    flag = f"--{first['loc'][0]}: " if first["loc"] else ""
    return flag + first["msg"].removeprefix("Value error, ")


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
