"""`python -m clients models label`: points a label at a version of a model, or removes it."""

import re
from typing import Self

from pydantic import Field, PositiveFloat, field_validator, model_validator
from pydantic_settings import BaseSettings, CliPositionalArg, CliToggleFlag, SettingsConfigDict

from cli.program import FLAGS
from cli.tables import show_rows

SHARE = re.compile(r"(\d{1,3}(?:\.\d+)?)%")


class Label(BaseSettings):
    """Point a label at a loaded version, from one request to the next, or remove it.

    `stable` answers requests that name no version, `canary` a share of them, and `shadow` runs
    their images again while nothing else does. Any other label is only a name. To take the canary
    for all: `models label NAME stable canary`, then `models label NAME canary --remove`.
    """

    model_config = SettingsConfigDict(
        **FLAGS | {"cli_enforce_required": True},
        env_prefix="CLIENTS_LABEL_",
        cli_prog_name="python -m clients models label",
    )

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
    address: str = Field("localhost:50051", description="host:port of the server")
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
def label(settings: Label) -> None:
    """Do it, and print the labels that the model has then."""
    from clients.client import ClassifierClient

    asked, timeout_s = (settings.name, settings.label), settings.timeout_s
    with ClassifierClient(settings.address) as client:
        if settings.remove:
            labels = client.remove_label(*asked, timeout_s=timeout_s)
        else:
            share = float((settings.share or "0%").rstrip("%")) / 100
            labels = client.set_label(*asked, settings.version, share=share, timeout_s=timeout_s)
    rows = [(one.label, one.version, f"{100 * one.share:.6g}%") for one in labels]
    show_rows(("Label", "Version", "Requests without a version"), rows, text_columns=2)
