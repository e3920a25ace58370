"""Where the server listens, and what connections may take."""

from pydantic import Field, PositiveInt
from pydantic_settings import BaseSettings

from serving.settings.types import Milliseconds, Port


class NetworkSettings(BaseSettings):
    """Ports, connections and timeouts."""

    # Not 0.0.0.0: there is neither encryption nor authentication yet.
    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="address to listen on; 0.0.0.0 or :: for all interfaces",
    )
    grpc_port: Port = Field(50051, description="gRPC port; 0 for any free port")
    http_port: Port = Field(
        8080,
        description="HTTP port: images, health, metrics and /openapi.json; 0 for any free port",
    )
    max_streams: PositiveInt = Field(
        32,
        description="maximum ClassifyStream calls that are open; beyond it a new one gets the "
        "place of one that has been quiet for --default-timeout-ms, or is refused",
    )
    max_connections: PositiveInt = Field(
        10_000,
        description="maximum gRPC connections, if the limit of open files allows as many; further "
        "ones are closed at once; each takes 15 KB, and ends after a minute without a call",
    )
    default_timeout_ms: Milliseconds = Field(
        30_000,
        description="deadline of requests that set none, from the arrival of the call; also the "
        "time in which a request must be complete and its answer read; in milliseconds",
    )
