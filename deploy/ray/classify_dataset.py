"""`python -m deploy.ray.classify_dataset SOURCE TARGET --model BUNDLE`: a data set at rest."""

import logging
import sys
from collections.abc import Sequence

from cli.program import Command
from cli.program import main as run
from deploy.batch.errors import DatasetError
from deploy.batch.settings import DatasetConfig
from serving.errors import ServingError


def main(arguments: Sequence[str] | None = None) -> int:
    """Classify as the arguments say, None for those of this process.

    Return the exit code: 0 if all images have a row, and one of them an answer; 1 if that failed, 2
    for a wrong call, 130 after Ctrl-C.
    """
    return run({"": Command(DatasetConfig, _classify)}, _errors, arguments)


def _classify(config: DatasetConfig) -> int:
    # The imports are inside, so that --help does not wait for Arrow and runtimes.
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        from deploy.batch.command import classify

        if config.engine == "ray":
            import ray  # noqa: F401 - before anything is done, whether it is there
    except ModuleNotFoundError as error:
        extra = "ray" if config.engine == "ray" else "batch"
        raise DatasetError(
            f"there is no {error.name} here: install the extra {extra}, pip install -e '.[{extra}]'"
        ) from error
    return classify(config)


def _errors() -> tuple[type[Exception], ...]:
    from bundle.store import BundleError

    return BundleError, DatasetError, ServingError


if __name__ == "__main__":
    sys.exit(main())
