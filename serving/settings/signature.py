"""Whose bundles run."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode


def _split(value: object) -> object:
    return value.split(",") if isinstance(value, str) else value


def _hold_keys(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    from bundle.keys import PublicKey  # only if there is one: --help need not wait for it

    for path in paths:
        PublicKey.read(path)
    return paths


PublicKeys = Annotated[
    tuple[Path, ...], NoDecode, BeforeValidator(_split), AfterValidator(_hold_keys)
]


class SignatureSettings(BaseSettings):
    """Signatures that bundles must carry."""

    require_signature: PublicKeys = Field(
        (),
        description="public key (PEM, ECDSA) that bundles must be signed with; of several, which "
        "are separated with commas or by repeating the flag, any; unset: signatures are ignored",
    )
