"""The command line: `python -m clients classify | bench`."""

import sys

from pydantic import BaseModel, Field, NonNegativeInt, PositiveFloat
from pydantic_settings import (
    BaseSettings,
    CliApp,
    CliPositionalArg,
    CliSubCommand,
    CliToggleFlag,
    SettingsConfigDict,
)

from benchmarks.load.command import Bench
from clients.classify import Question, classify_files
from clients.client import DEFAULT_ADDRESS, ClassifierClient
from clients.files import find_images
from clients.output import print_json, print_table, progress


class Classify(BaseModel):
    """Classify image files and print their classes."""

    paths: CliPositionalArg[list[str]] = Field(
        description="image files, folders (searched whole) or globs"
    )
    address: str = Field(DEFAULT_ADDRESS, description="host:port of the server")
    top_k: NonNegativeInt = Field(5, description="classes per image; 0 prints all of them")
    as_json: CliToggleFlag[bool] = Field(
        default=False, alias="json", description="print one JSON object per line instead of a table"
    )
    model: str = Field("", description="name of the model, where the server holds several")
    version: str = Field("", description="version of the model; the newest if empty")
    timeout_s: PositiveFloat = Field(60.0, description="longest wait for one request, in seconds")

    def cli_cmd(self) -> None:
        """Print every file's outcome; exit with 1 where one failed."""
        paths = find_images(self.paths)
        question = Question(
            top_k=self.top_k, model=self.model, version=self.version, timeout_s=self.timeout_s
        )
        # On one terminal, a bar would be drawn over the lines.
        shown = not (self.as_json and sys.stdout.isatty())
        with ClassifierClient(self.address) as client:
            outcomes = progress(classify_files(client, paths, question), len(paths), shown=shown)
            failures = print_json(outcomes) if self.as_json else print_table(outcomes)
        if failures:
            sys.exit(1)


class Clients(BaseSettings):
    """Talk to a running server."""

    model_config = SettingsConfigDict(
        cli_prog_name="python -m clients",
        cli_kebab_case=True,
        cli_enforce_required=True,
        cli_hide_none_type=True,
    )

    classify: CliSubCommand[Classify] = Field(description="classify image files")
    bench: CliSubCommand[Bench] = Field(description="measure a server under load")

    def cli_cmd(self) -> None:
        """Run the subcommand."""
        CliApp.run_subcommand(self, cli_exit_on_error=False)
