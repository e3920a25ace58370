"""The types of settings, with bounds far beyond what is useful: they catch mistakes."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

DAY_S = 86_400
Port = Annotated[int, Field(ge=0, le=65535)]
Threads = Annotated[int, Field(gt=0, le=1024)]
Bucket = Annotated[int, Field(gt=0, le=4096)]
Seconds = Annotated[float, Field(gt=0, le=DAY_S)]
Milliseconds = Annotated[int, Field(gt=0, le=1000 * DAY_S)]
LitePython = Annotated[
    Path | None,
    Field(description="Python interpreter that has mindspore_lite; unset: the server's own"),
]


def flag(field: str) -> str:
    """Return the flag of a setting."""
    return f"--{field.replace('_', '-')}"
