"""`python -m clients models`: what a server has loaded, and what it should load."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Self

from pydantic import Field, PositiveFloat, field_validator, model_validator
from pydantic_settings import CliPositionalArg, CliToggleFlag, SettingsConfigDict

from cli.program import FLAGS, Alias, Command
from cli.tables import show_rows
from clients.settings import ServerSettings

if TYPE_CHECKING:
    from clients.types import VersionState

HEADINGS = ("Model", "Version", "State", "Why")
SHARE = re.compile(r"\d{1,3}(\.\d+)?%")


def _of(command: str) -> SettingsConfigDict:
    return SettingsConfigDict(
        **FLAGS | {"cli_enforce_required": True},
        env_prefix=f"CLIENTS_MODELS_{command.upper()}_",
        cli_prog_name=f"python -m clients models {command}",
    )


class List(ServerSettings):
    """List every version that a server knows, loaded or not."""

    model_config = _of("list")

    as_json: CliToggleFlag[bool] = Field(
        default=False, alias="json", description="print one JSON object per line instead of a table"
    )
    timeout_s: PositiveFloat = Field(10.0, le=86_400, description="deadline, in seconds")


class Change(ServerSettings):
    """A model that is to be loaded or unloaded."""

    name: CliPositionalArg[str] = Field(description="name of the model")
    version: str = Field("", description="only this version; unset: see above")
    timeout_s: PositiveFloat = Field(
        1800.0, le=86_400, description="how long to wait for it, in seconds; the server goes on"
    )


class Load(Change):
    """Load what the server's version policy asks for, or one version beside what is loaded.

    It ends when the model answers: it was opened, proved by its golden images and warmed up beside
    those that answer. For a server with --model-control explicit.
    """

    model_config = _of("load")


class Unload(Change):
    """Unload all versions of a model, or one of them.

    It ends when they have answered what they had. For a server with --model-control explicit.
    """

    model_config = _of("unload")


class Label(ServerSettings):
    """Point a label at a loaded version, from one request to the next, or remove it.

    `stable` answers requests that name no version, `canary` a share of them, and `shadow` runs
    their images again while nothing else does. Any other label is only a name. To take the canary
    for all: `models label NAME stable canary`, then `models label NAME canary --remove`.
    """

    model_config = _of("label")

    name: CliPositionalArg[str] = Field(description="name of the model")
    label: CliPositionalArg[str] = Field(description="the label")
    version: CliPositionalArg[str] = Field(
        "", description="a loaded version, or another label of it; none with --remove"
    )
    share: str = Field(
        "",
        description="for canary: share of the requests without a version, such as 10%; unset: only "
        "those that name it",
    )
    remove: CliToggleFlag[bool] = Field(default=False, description="remove the label")
    timeout_s: PositiveFloat = Field(10.0, le=86_400, description="deadline, in seconds")

    @field_validator("share")
    @classmethod
    def _check_share(cls, share: str) -> str:
        if share and not SHARE.fullmatch(share):
            raise ValueError(f"{share!r} is no share; give one such as 10%")
        return share

    @model_validator(mode="after")
    def _check_change(self) -> Self:
        if self.remove and (self.version or self.share):
            raise ValueError("--remove needs no version and no share")
        if not self.remove and not self.version:
            raise ValueError("name a version, or give --remove")
        return self


# The imports are inside, so that --help need not wait for gRPC.
def _list(settings: List) -> None:
    with settings.connect() as client:
        versions = client.list_versions(timeout_s=settings.timeout_s)
    if settings.as_json:
        for version in versions:
            print(json.dumps(asdict(version)))
    else:
        _show(versions)


def _load(settings: Load) -> None:
    with settings.connect() as client:
        client.load_model(settings.name, settings.version, timeout_s=settings.timeout_s)
        _show([one for one in client.list_versions() if one.name == settings.name])


def _unload(settings: Unload) -> None:
    with settings.connect() as client:
        client.unload_model(settings.name, settings.version, timeout_s=settings.timeout_s)
        _show([one for one in client.list_versions() if one.name == settings.name])


def _label(settings: Label) -> None:
    asked, timeout_s = (settings.name, settings.label), settings.timeout_s
    with settings.connect() as client:
        if settings.remove:
            labels = client.remove_label(*asked, timeout_s=timeout_s)
        else:
            share = float((settings.share or "0%").rstrip("%")) / 100
            labels = client.set_label(*asked, settings.version, share=share, timeout_s=timeout_s)
    rows = [(one.label, one.version, f"{100 * one.share:.6g}%") for one in labels]
    show_rows(("Label", "Version", "Requests without a version"), rows, text_columns=2)


def _show(versions: "Sequence[VersionState]") -> None:
    rows = [(one.name, one.version, one.state, one.reason) for one in versions]
    show_rows(HEADINGS, rows, text_columns=len(HEADINGS))


COMMANDS: dict[str, Command | Alias] = {
    "list": Command(List, _list),
    "load": Command(Load, _load),
    "unload": Command(Unload, _unload),
    "label": Command(Label, _label),
}
