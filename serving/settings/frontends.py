"""How many processes take the calls of gRPC."""

from pydantic import Field
from pydantic_settings import BaseSettings

# Each takes memory for a whole server's libraries, and a share of the cores.
MOST_FRONTENDS = 64


class FrontEndSettings(BaseSettings):
    """Front ends."""

    frontends: int = Field(
        0,
        ge=0,
        le=MOST_FRONTENDS,
        description="processes that share the gRPC port, and parse and decode for the one that "
        "runs the models (Linux only): for more cores than one Python process can use; one "
        "connection of a client is one front end's, and --max-connections, --max-streams, "
        "--max-transfer-bytes and --decode-threads are of each; 0: no other process",
    )
