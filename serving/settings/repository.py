"""The folder of bundles, and which of its versions are loaded when."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode

from serving.repository.policy import Policy, parse_policy
from serving.settings.types import Seconds, flag

ModelControl = Literal["none", "poll", "explicit"]


class RepositorySettings(BaseSettings):
    """A repository of models that change while the server runs."""

    repository: Path | None = Field(
        None,
        description="folder with bundles in <name>/<version>/, of which those are loaded that the "
        "version policy asks for; beside --model or in its place",
    )
    version_policy: Annotated[tuple[str, ...], NoDecode] = Field(
        ("latest:1",),
        description="which versions in --repository are loaded: latest:N (the newest N that prove "
        "themselves), all, or NAME=1,3; NAME=latest:2 and NAME=all are for one name; for several, "
        "repeat the flag or separate with commas",
    )
    model_control: ModelControl = Field(
        "none",
        description="when --repository is looked at. none: at the start and on SIGHUP; poll: also "
        "every --repository-poll-s; explicit: on calls that load and unload (python -m clients "
        "models), which the others refuse",
    )
    repository_poll_s: Seconds = Field(
        5.0, description="time between two looks with --model-control poll, in seconds"
    )
    load_timeout_s: Seconds = Field(
        1800.0,
        description="time after which a version that is loaded while others answer, in a process "
        "of the lowest priority, is given up, in seconds",
    )
    load_model: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="names in --repository that are loaded at the start with --model-control "
        "explicit, separated with commas; * for all",
    )

    @property
    def policy(self) -> Policy:
        """The version policy."""
        return parse_policy(self.version_policy)

    @field_validator("version_policy", "load_model", mode="before")
    @classmethod
    def _split_words(cls, value: object) -> object:
        return value.split(",") if isinstance(value, str) else value

    @field_validator("version_policy")
    @classmethod
    def _check_policy(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        parse_policy(words)
        return words

    @model_validator(mode="after")
    def _check_repository(self) -> Self:
        if self.repository is None:
            for field in sorted(RepositorySettings.model_fields.keys() - {"repository"}):
                if field in self.model_fields_set:
                    raise ValueError(f"{flag(field)} is for --repository, which is not given")
        elif self.load_model and self.model_control != "explicit":
            raise ValueError("--load-model is for --model-control explicit: the others load all")
        return self
