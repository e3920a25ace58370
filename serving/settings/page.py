"""The page that people open in a browser."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings


class PageSettings(BaseSettings):
    """Whether there is one."""

    page: Literal["on", "off"] = Field(
        "on",
        description="whether / of the HTTP port is a page on which people try the models; it asks "
        "no other host for anything, and for a token where --token-file is set",
    )
