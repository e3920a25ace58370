"""Where the server listens, and what connections may take."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, PositiveInt, field_validator
from pydantic_settings import BaseSettings, NoDecode

from serving.settings.types import Milliseconds, Port, Seconds


class NetworkSettings(BaseSettings):
    """Ports, connections and timeouts."""

    # Not 0.0.0.0: whoever wants that says how strangers are kept out (serving/settings/tls.py).
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
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="origins whose pages in a browser may call over HTTP, separated with commas "
        "(https://example.com,http://localhost:3000), or * for all; unset: none",
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
    max_http_connections: PositiveInt = Field(
        1024,
        description="maximum HTTP connections, if a quarter of the limit of open files is as many; "
        "beyond it a new one takes the place of the one that has been idle for longest",
    )
    http_idle_s: Seconds = Field(
        75.0,
        description="time without a request after which an HTTP connection is closed, in seconds; "
        "longer than that of the load balancer in front, which must close first",
    )
    max_connection_age_s: Seconds | None = Field(
        None,
        description="age at which a connection is to end, so that clients and load balancers find "
        "new servers, in seconds: gRPC says GOAWAY, HTTP `connection: close`, and what is in "
        "flight is answered; gRPC adds or takes up to a tenth; unset: none",
    )
    default_timeout_ms: Milliseconds = Field(
        30_000,
        description="deadline of requests that set none, from the arrival of the call; also the "
        "time in which a request must be complete and its answer read; in milliseconds",
    )

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        return value.split(",") if isinstance(value, str) else value

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            parts = urlsplit(origin)
            is_origin = parts.netloc and origin == f"{parts.scheme}://{parts.netloc}".lower()
            if origin != "*" and not is_origin:
                raise ValueError(
                    f"{origin!r} must be an origin as browsers send it: scheme, host and port in "
                    f"small letters, such as https://example.com, without a slash at the end; or *"
                )
        return origins
