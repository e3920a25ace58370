"""Who may call."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, CliPositionalArg, SettingsConfigDict

from cli.program import FLAGS
from serving.access.tokens import check_name, check_roles


class AccessSettings(BaseSettings):
    """Tokens."""

    token_file: Path | None = Field(
        None,
        description="file with a line for each token: a name, sha256:DIGEST and the roles, some of "
        "classify, read and admin (`python -m serving token NAME` makes it); or for each client "
        "certificate: cert:NAME and the roles; it is read again when it changes; health stays "
        "open; unset: nobody is asked who they are",
    )


class TokenConfig(BaseSettings):
    """Make a token for a caller, and the line with its digest for the server's --token-file.

    The token is printed, and kept nowhere: give it to the caller. Without --file the line is
    printed below it.
    """

    model_config = SettingsConfigDict(
        **FLAGS, env_prefix="SERVING_NEW_TOKEN_", cli_prog_name="python -m serving token"
    )

    name: CliPositionalArg[Annotated[str, AfterValidator(check_name)]] = Field(
        description="name of the caller, for logs and limits; each token has its own"
    )
    roles: Annotated[str, AfterValidator(check_roles)] = Field(
        "classify",
        description="what it may do, separated with commas: classify; read (metrics, statistics); "
        "admin (load, unload, labels, and the others)",
    )
    file: Path | None = Field(
        None, description="token file to add the line to; it is made (mode 600) if there is none"
    )
