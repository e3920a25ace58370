"""`python -m clients`: classify image files, load models, or start the load tester (`bench`)."""

import importlib.util
import os
import runpy
import sys
from collections.abc import Sequence

from pydantic import Field, NonNegativeInt, PositiveFloat
from pydantic_settings import CliPositionalArg, CliToggleFlag, SettingsConfigDict

from cli.program import FAILED, FLAGS, Alias, Command, fail, main
from clients.settings import ServerSettings

LOAD_TESTER = "benchmarks.load"


class Classify(ServerSettings):
    """Classify image files and print their classes."""

    model_config = SettingsConfigDict(
        **FLAGS | {"cli_enforce_required": True},
        env_prefix="CLIENTS_CLASSIFY_",
        cli_prog_name="python -m clients classify",
    )

    paths: CliPositionalArg[list[str]] = Field(
        description="image files, folders (searched recursively) or globs"
    )
    top_k: NonNegativeInt = Field(
        5, lt=2**32, description="classes per image; 0 prints all of them"
    )
    as_json: CliToggleFlag[bool] = Field(
        default=False, alias="json", description="print one JSON object per line instead of a table"
    )
    model: str = Field("", description="name of the model, if the server has several")
    version: str = Field("", description="version of the model; the newest if empty")
    timeout_s: PositiveFloat = Field(
        60.0, le=86_400, description="deadline of each request, in seconds"
    )
    ray: CliToggleFlag[bool] = Field(
        default=False, description="the server is a proxy of Ray Serve, see docs/ray.md"
    )


# The imports are inside, so that --help need not wait for gRPC.
def _classify(settings: Classify) -> int:
    """Print every file's outcome; return 1 if one failed."""
    from clients.classify import Question, classify_files
    from clients.files import find_images
    from clients.output import print_json, print_table, progress

    paths = find_images(settings.paths)
    question = Question(
        top_k=settings.top_k,
        model=settings.model,
        version=settings.version,
        timeout_s=settings.timeout_s,
    )
    # On one terminal, a bar would be drawn over the lines.
    shown = not (settings.as_json and sys.stdout.isatty())
    with settings.connect(ray=settings.ray) as client:
        info = client.get_model(settings.model, settings.version, timeout_s=settings.timeout_s)
        answers = classify_files(client, paths, question, info.max_images_per_request)
        outcomes = progress(answers, len(paths), shown=shown)
        failures = print_json(outcomes) if settings.as_json else print_table(outcomes, info.task)
    return FAILED if failures else 0


def _bench(words: Sequence[str]) -> int:
    """Become the load tester, which is no part of the installed package."""
    try:
        found = importlib.util.find_spec(LOAD_TESTER)
    except ModuleNotFoundError:
        found = None
    if not found:
        return fail(
            f"the load tester is not installed with the client: run `python -m {LOAD_TESTER}` in a "
            f"checkout of the repository, after pip install -e '.[load]'",
            FAILED,
        )
    sys.argv[1:] = words
    runpy.run_module(LOAD_TESTER, run_name="__main__", alter_sys=True)
    return 0


def _models(words: Sequence[str]) -> int:
    from clients.models import COMMANDS as OF_MODELS

    return main(OF_MODELS, _errors, words)


def _errors() -> tuple[type[Exception], ...]:
    from clients.errors import ClassifierError

    return (ClassifierError,)


COMMANDS: dict[str, Command | Alias] = {
    "classify": Command(Classify, _classify, names="paths"),
    "models": Alias("List, load, unload and label the models of a server.", _models),
    "bench": Alias("Load a server and measure its answers (python -m benchmarks.load).", _bench),
}


if __name__ == "__main__":
    # One hand-over between threads less per call; gRPC reads this when it is imported.
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_client")
    sys.exit(main(COMMANDS, _errors))
