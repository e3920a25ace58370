"""The server's settings: flags, environment (`SERVING_*`) and help from one declaration."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, CliToggleFlag, NoDecode, SettingsConfigDict

from bundle.kinds import Precision
from serving.backends.settings import DEFAULTS, Runtime, RuntimeSettings

Port = Annotated[int, Field(ge=0, le=65535)]


LitePython = Annotated[
    Path | None,
    Field(description="Python interpreter that has mindspore_lite; unset: the server's own"),
]


class DevicesConfig(BaseSettings):
    """List what this machine can run models on and, for the rest, what is missing."""

    model_config = SettingsConfigDict(
        env_prefix="SERVING_",
        cli_kebab_case=True,
        cli_prog_name="python -m serving devices",
        cli_hide_none_type=True,
    )

    lite_python: LitePython = DEFAULTS.lite_python
    as_json: CliToggleFlag[bool] = Field(
        default=False, alias="json", description="print JSON instead of a table"
    )


class ServingConfig(BaseSettings):
    """Serve image classifiers over gRPC, with health and metrics over HTTP.

    Every flag is also an environment variable: --grpc-port is SERVING_GRPC_PORT. A flag wins.
    `python -m serving devices` lists what this machine can run models on.
    """

    model_config = SettingsConfigDict(
        env_prefix="SERVING_",
        cli_kebab_case=True,
        cli_prog_name="python -m serving",
        cli_hide_none_type=True,
        cli_avoid_json=True,
        frozen=True,
        extra="forbid",
    )

    model: Annotated[list[Path], NoDecode] = Field(
        min_length=1, description="bundle directory; repeat it, or separate by commas, for several"
    )
    device: str = Field(
        "cpu",
        description="where models run: cpu, cuda, tensorrt or ascend, the last three with an index "
        "or a range, several by commas (cuda:0, ascend:0-7); a model spans all of them",
    )
    runtime: Runtime | Literal["auto"] = Field(
        "auto", description="auto: what the bundle holds a file for and this machine can run"
    )
    precision: Precision | None = Field(
        None,
        description="unset: fp32 on a CPU; elsewhere fp16 where the bundle holds it, else fp32",
    )
    threads: PositiveInt = Field(DEFAULTS.threads, description="CPU threads a batch may use")
    instances: PositiveInt | None = Field(
        None,
        description="batches that run at once per device; unset: CPU cores / threads, elsewhere 1",
    )
    buckets: Annotated[tuple[PositiveInt, ...] | None, NoDecode] = Field(
        None, description="batch sizes to warm and run, by commas; unset: as the bundle says"
    )
    device_memory_mib: PositiveInt | None = Field(
        DEFAULTS.device_memory_mib,
        description="memory that ONNX Runtime may take per instance on cuda or ascend, in MiB",
    )
    cache_dir: Path = Field(
        DEFAULTS.cache_dir, description="folder for what runtimes build from a model, by its digest"
    )
    lite_python: LitePython = DEFAULTS.lite_python
    batch_timeout_s: PositiveFloat = Field(
        DEFAULTS.batch_timeout_s,
        description="time after which a MindSpore Lite worker with a batch is lost, in seconds",
    )
    decode_threads: PositiveInt | None = Field(
        None, description="threads that decode images, per model; unset: as many as CPU cores"
    )
    # Not 0.0.0.0: there is neither encryption nor authentication yet.
    host: str = Field(
        "127.0.0.1", description="address to listen on; 0.0.0.0 or :: for every interface"
    )
    grpc_port: Port = Field(50051, description="gRPC port; 0 takes a free one")
    http_port: Port = Field(8080, description="port of health and metrics; 0 takes a free one")
    max_images_per_request: PositiveInt = Field(128, description="largest number of images")
    max_inflight_images: PositiveInt = Field(
        1024, description="images per model between admission and answer; more are refused"
    )
    max_inflight_bytes: PositiveInt = Field(
        512 * 2**20, description="bytes of images, as they came, likewise per model"
    )
    max_inflight_pixels: PositiveInt = Field(
        2_000_000_000, description="pixels of images before the transform, likewise per model"
    )
    max_image_pixels: PositiveInt = Field(
        50_000_000, description="largest width x height, read from the header before decoding"
    )
    max_message_bytes: PositiveInt = Field(32 * 2**20, description="largest gRPC message, in bytes")
    default_timeout_ms: PositiveInt = Field(
        30_000, description="deadline of a request that sets none, in milliseconds"
    )
    slo_ms: PositiveInt | None = Field(
        None,
        description="time within which 99 of 100 images are to be answered: bounds the batch size, "
        "in milliseconds; unset: throughput decides",
    )
    shutdown_delay_s: NonNegativeFloat = Field(
        0.0,
        description="time after SIGTERM during which calls are still answered while health says "
        "NOT_SERVING, in seconds: as long as load balancers take to see it",
    )
    grace_period_s: PositiveFloat = Field(
        30.0, description="time to finish what is in flight after that, in seconds"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="least severe message that is logged, to stderr"
    )

    @property
    def runtime_settings(self) -> RuntimeSettings:
        """What the runtimes are told."""
        return RuntimeSettings(
            **{name: getattr(self, name) for name in RuntimeSettings._fields},
        )

    @field_validator("model", "buckets", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return value.split(",") if isinstance(value, str) else value

    @field_validator("buckets")
    @classmethod
    def _rise(cls, buckets: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if buckets and list(buckets) != sorted(set(buckets)):
            raise ValueError(f"{list(buckets)} must rise; say {sorted(set(buckets))}")
        return buckets

    @model_validator(mode="after")
    def _request_fits(self) -> Self:
        for one, all_ in (
            ("max_images_per_request", "max_inflight_images"),
            ("max_message_bytes", "max_inflight_bytes"),
            ("max_image_pixels", "max_inflight_pixels"),
        ):
            if getattr(self, one) > getattr(self, all_):
                raise ValueError(
                    f"{one} is {getattr(self, one)}: such a request could never be admitted with "
                    f"{all_} {getattr(self, all_)}"
                )
        return self
