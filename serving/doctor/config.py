"""The settings of `python -m serving doctor`: those of the server that it looks after."""

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator
from pydantic_settings import CliPositionalArg, CliToggleFlag, SettingsConfigDict

from serving.config import ServingConfig


class DoctorConfig(ServingConfig):
    """Check before going live what would keep a server with the same flags from working.

    Takes every flag and variable of the server, and loads its models as it would. Says for each
    finding what to do. Exit code 1: something would not work; 0: all would, warnings or not.
    """

    model_config = SettingsConfigDict(cli_prog_name="python -m serving doctor")

    bundles: CliPositionalArg[list[Path]] = Field(
        [], description="bundle directories, as those of --model"
    )
    as_json: CliToggleFlag[bool] = Field(
        default=False, alias="json", description="print JSON instead of a table"
    )

    @model_validator(mode="before")
    @classmethod
    def _bundles_are_models(cls, given: dict[str, Any]) -> dict[str, Any]:
        held = given.get("model") or []
        models = held.split(",") if isinstance(held, str) else [*held]
        models += [path for path in given.get("bundles") or [] if path not in models]
        return {**given, "model": models} if models else given
