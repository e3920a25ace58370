"""What the server says of each request: in its log, and to a collector of traces."""

from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings

Form = Literal["text", "json"]


class RecordSettings(BaseSettings):
    """Access log, form of the log, traces."""

    access_log: Literal["off", "errors", "all"] = Field(
        "off",
        description="which requests have a line in the log: none, those that did not end well, all",
    )
    log_format: Form = Field(
        "text", description="form of all lines of the log: text, or an object of JSON per line"
    )
    otlp_endpoint: str | None = Field(
        None,
        description="OpenTelemetry collector that gets a span for each traced request, over gRPC "
        "(http://localhost:4317, or https://); needs the extra `tracing`; unset: no traces",
    )
    trace_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of requests that are traced of those that come without a trace context; "
        "those that come with one are traced if it says that it is sampled",
    )

    @field_validator("otlp_endpoint")
    @classmethod
    def _check_endpoint(cls, endpoint: str | None) -> str | None:
        if endpoint is not None and not _is_origin(endpoint):
            raise ValueError(
                f"{endpoint!r} must be http:// or https://, a host and a port, as in "
                f"http://localhost:4317"
            )
        return endpoint

    @model_validator(mode="after")
    def _check_record(self) -> Self:
        if self.trace_share and self.otlp_endpoint is None:
            raise ValueError(
                f"--trace-share is {self.trace_share:g}: it needs --otlp-endpoint, where the "
                f"traces go"
            )
        return self


def _is_origin(url: str) -> bool:
    """Whether a URL is a scheme, a host and a port."""
    try:
        parts = urlsplit(url)
        has_port = bool(parts.port)
    except ValueError:  # a port that is no number, brackets that do not close
        return False
    rest = parts.path.strip("/") or parts.query or parts.fragment or parts.username
    is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and has_port
    return is_whole and not rest and url.isprintable()
