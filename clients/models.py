"""`python -m clients models`: what a server has loaded, and what it should load."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from pydantic import Field, PositiveFloat
from pydantic_settings import BaseSettings, CliPositionalArg, CliToggleFlag, SettingsConfigDict

from cli.program import FLAGS, Alias, Command
from cli.tables import show_rows

if TYPE_CHECKING:
    from clients.types import VersionState

HEADINGS = ("Model", "Version", "State", "Why")


def _of(command: str) -> SettingsConfigDict:
    return SettingsConfigDict(
        **FLAGS | {"cli_enforce_required": True},
        env_prefix=f"CLIENTS_MODELS_{command.upper()}_",
        cli_prog_name=f"python -m clients models {command}",
    )


class Connection(BaseSettings):
    """Where the server is."""

    address: str = Field("localhost:50051", description="host:port of the server")


class List(Connection):
    """List every version that a server knows, loaded or not."""

    model_config = _of("list")

    as_json: CliToggleFlag[bool] = Field(
        default=False, alias="json", description="print one JSON object per line instead of a table"
    )
    timeout_s: PositiveFloat = Field(10.0, le=86_400, description="deadline, in seconds")


class Change(Connection):
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


# The imports are inside, so that --help need not wait for gRPC.
def _list(settings: List) -> None:
    from clients.client import ClassifierClient

    with ClassifierClient(settings.address) as client:
        versions = client.list_versions(timeout_s=settings.timeout_s)
    if settings.as_json:
        for version in versions:
            print(json.dumps(asdict(version)))
    else:
        _show(versions)


def _load(settings: Load) -> None:
    from clients.client import ClassifierClient

    with ClassifierClient(settings.address) as client:
        client.load_model(settings.name, settings.version, timeout_s=settings.timeout_s)
        _show([one for one in client.list_versions() if one.name == settings.name])


def _unload(settings: Unload) -> None:
    from clients.client import ClassifierClient

    with ClassifierClient(settings.address) as client:
        client.unload_model(settings.name, settings.version, timeout_s=settings.timeout_s)
        _show([one for one in client.list_versions() if one.name == settings.name])


def _show(versions: "Sequence[VersionState]") -> None:
    rows = [(one.name, one.version, one.state, one.reason) for one in versions]
    show_rows(HEADINGS, rows, text_columns=len(HEADINGS))


COMMANDS: dict[str, Command | Alias] = {
    "list": Command(List, _list),
    "load": Command(Load, _load),
    "unload": Command(Unload, _unload),
}
