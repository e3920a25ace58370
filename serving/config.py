"""The server's settings: flags, environment (`SERVING_*`) and help from one declaration."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator
from pydantic_settings import BaseSettings, CliToggleFlag, NoDecode, SettingsConfigDict

from bundle.kinds import Precision
from cli.program import FLAGS
from images.limits import ImageLimits
from serving.backends.settings import CUDA_OPTIONS, DEFAULTS, Runtime, RuntimeSettings

Port = Annotated[int, Field(ge=0, le=65535)]
# The bounds are far beyond what is useful: they keep mistakes from what fails without a reason.
DAY_S = 86_400
Threads = Annotated[int, Field(gt=0, le=1024)]
Bucket = Annotated[int, Field(gt=0, le=4096)]
Seconds = Annotated[float, Field(gt=0, le=DAY_S)]
Milliseconds = Annotated[int, Field(gt=0, le=1000 * DAY_S)]
LitePython = Annotated[
    Path | None,
    Field(description="Python interpreter that has mindspore_lite; unset: the server's own"),
]

IMAGE_LIMITS = ImageLimits()


class DevicesConfig(BaseSettings):
    """List the devices that this machine can serve on and, for the others, what is missing."""

    model_config = SettingsConfigDict(
        **FLAGS, env_prefix="SERVING_", cli_prog_name="python -m serving devices"
    )

    lite_python: LitePython = DEFAULTS.lite_python
    as_json: CliToggleFlag[bool] = Field(
        default=False, alias="json", description="print JSON instead of a table"
    )


class ServingConfig(BaseSettings):
    """Serve image classifiers over gRPC and HTTP, with health and metrics.

    Every flag is also an environment variable: --grpc-port is SERVING_GRPC_PORT. A flag wins.
    `python -m serving devices` lists the devices that this machine can serve on, `python -m serving
    tune` finds the fastest settings for a bundle on its CPU.
    """

    model_config = SettingsConfigDict(
        **FLAGS,
        env_prefix="SERVING_",
        cli_prog_name="python -m serving",
        frozen=True,
        extra="forbid",
    )

    model: Annotated[list[Path], NoDecode] = Field(
        min_length=1,
        description="bundle directory; for several, repeat the flag or separate with commas",
    )
    device: str = Field(
        "cpu",
        description="devices to run on: cpu, cuda, tensorrt or ascend, the last three with an "
        "optional index or range, separated with commas (cuda:0, ascend:0-7); a model runs on all",
    )
    runtime: Literal[Runtime, "auto"] = Field(
        "auto",
        description="auto: the first that the bundle has a file for and this machine can run; on a "
        "CPU openvino comes first for int8 and bf16, onnxruntime for the rest",
    )
    precision: Precision | None = Field(
        None,
        description="unset: fp32 on a CPU; on other devices fp16 if the bundle has it, else fp32. "
        "bf16 runs on CPUs that have it, with openvino; int8 does not run on cuda and tensorrt",
    )
    threads: Threads = Field(DEFAULTS.threads, description="CPU threads per batch")
    instances: Threads | None = Field(
        None,
        description="batches that run concurrently per device; unset: cores / threads on a CPU, 1 "
        "on other devices",
    )
    buckets: Annotated[tuple[Bucket, ...] | None, NoDecode] = Field(
        None,
        description="batch sizes to warm up and run, ascending, separated with commas; unset: "
        "those of the bundle",
    )
    device_memory_mib: int | None = Field(
        DEFAULTS.device_memory_mib,
        gt=0,
        le=2**24,
        description="limit of ONNX Runtime's memory per instance on cuda or ascend, in MiB; unset: "
        "no limit",
    )
    cuda_options: Annotated[tuple[str, ...], NoDecode] = Field(
        DEFAULTS.cuda_options,
        description="options of ONNX Runtime's CUDA provider in place of the server's choice, "
        "separated with commas (fuse_conv_bias=1,prefer_nhwc=0); for cuda",
    )
    cache_dir: Path | None = Field(
        DEFAULTS.cache_dir,
        description="folder for files that runtimes build from a model, such as TensorRT engines, "
        "and for what `python -m serving tune` finds",
    )
    tuned: Literal["auto", "off"] = Field(
        "auto",
        description="auto: use what `python -m serving tune` found for the bundle on this machine, "
        "with the same --slo-ms, where no flag says otherwise; off: ignore it",
    )
    lite_python: LitePython = DEFAULTS.lite_python
    batch_timeout_s: Seconds = Field(
        DEFAULTS.batch_timeout_s,
        description="time after which a MindSpore Lite worker that has not answered a batch is "
        "killed and replaced, in seconds",
    )
    overdue_s: Seconds = Field(
        5.0,
        description="time after which a decode, a batch or a reopening is overdue: its instance or "
        "decode thread then counts as not serving until that ends, in seconds; a batch has at "
        "least four times its predicted time",
    )
    decode_threads: int | None = Field(
        None,
        ge=0,
        le=1024,
        description="threads that decode images, per model; 0: instances decode their own batches; "
        "unset: 0 if instances of one CPU thread take all cores, else as many as cores",
    )
    background_threads: Threads | None = Field(
        None,
        description="threads per model that decode the images that are slow to decode, on cores "
        "that nothing else needs; each may take the memory of the largest image; unset: as many "
        "as cores",
    )
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
    max_images_per_request: PositiveInt = Field(128, description="maximum images in a request")
    max_inflight_images: int = Field(
        1024,
        gt=0,
        le=2**20,
        description="maximum images in flight per model, from admission to answer; a request that "
        "would exceed it is refused",
    )
    max_inflight_bytes: PositiveInt = Field(
        512 * 2**20, description="maximum bytes of encoded images in flight per model"
    )
    max_inflight_pixels: PositiveInt = Field(
        2_000_000_000,
        description="maximum pixels of images in flight per model, counted before the transform",
    )
    max_image_bytes: PositiveInt = Field(
        IMAGE_LIMITS.max_image_bytes, description="maximum size of an encoded image, in bytes"
    )
    max_image_pixels: PositiveInt = Field(
        IMAGE_LIMITS.max_image_pixels,
        description="maximum width x height of an image; this and the following are checked by one "
        "walk over the file, before decoding",
    )
    max_image_side: PositiveInt = Field(
        IMAGE_LIMITS.max_image_side, description="maximum width or height of an image, in pixels"
    )
    max_image_parts: PositiveInt = Field(
        IMAGE_LIMITS.max_image_parts,
        description="maximum segments and scans, or chunks, of an image file",
    )
    max_image_mib: PositiveInt = Field(
        IMAGE_LIMITS.max_image_mib,
        description="maximum memory to decode an image, in MiB: 1 to 10 bytes per pixel, by what "
        "the file says of itself",
    )
    max_image_ms: PositiveInt = Field(
        IMAGE_LIMITS.max_image_ms,
        description="maximum CPU time to decode an image, in milliseconds, as estimated from "
        "pixels, scans, inflated and encoded bytes",
    )
    max_message_bytes: int = Field(
        32 * 2**20,
        gt=0,
        le=2**31 - 1,  # gRPC's own
        description="maximum size of a gRPC message, and of a body over HTTP, as it comes and "
        "inflated, in bytes",
    )
    max_transfer_bytes: PositiveInt = Field(
        2**30,
        description="maximum bytes of requests that have been arriving for more than 5 s, and "
        "of answers that have been waiting to be read for as long; an incomplete request counts as "
        "--max-message-bytes; beyond it the oldest calls are ended",
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
    slo_ms: Milliseconds | None = Field(
        None,
        description="target for the 99th percentile of latency, in milliseconds; limits the batch "
        "size; unset: no such limit",
    )
    shutdown_delay_s: float = Field(
        0.0,
        ge=0,
        le=DAY_S,
        description="time after SIGTERM during which calls are still answered while health is "
        "NOT_SERVING, in seconds; set it to the time that load balancers take to notice",
    )
    grace_period_s: Seconds = Field(
        30.0,
        description="time to finish requests in flight after that delay, in seconds; one more "
        "second, and the process ends, whatever still runs",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="lowest severity of messages that are logged, to stderr"
    )

    @property
    def image_limits(self) -> ImageLimits:
        """The settings that bound an image."""
        return ImageLimits(**{name: getattr(self, name) for name in ImageLimits._fields})

    @property
    def runtime_settings(self) -> RuntimeSettings:
        """The settings that runtimes need."""
        return RuntimeSettings(**{name: getattr(self, name) for name in RuntimeSettings._fields})

    @field_validator("model", "buckets", "cuda_options", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return value.split(",") if isinstance(value, str) else value

    @field_validator("buckets")
    @classmethod
    def _check_ascending(cls, buckets: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if buckets and list(buckets) != sorted(set(buckets)):
            raise ValueError(f"{list(buckets)} must ascend; use {sorted(set(buckets))}")
        return buckets

    @field_validator("cuda_options")
    @classmethod
    def _check_options(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        for option in options:
            name, _, value = option.partition("=")
            if name not in CUDA_OPTIONS or not value:
                raise ValueError(f"{option!r} must be one of {', '.join(CUDA_OPTIONS)}, =, a value")
        return options

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        for largest, in_flight in (
            ("max_images_per_request", "max_inflight_images"),
            ("max_message_bytes", "max_inflight_bytes"),
            ("max_message_bytes", "max_transfer_bytes"),
            ("max_image_pixels", "max_inflight_pixels"),
        ):
            if getattr(self, largest) > getattr(self, in_flight):
                raise ValueError(
                    f"{flag(largest)} is {getattr(self, largest)}: such a request could never be "
                    f"admitted with {flag(in_flight)} {getattr(self, in_flight)}"
                )
        return self


def flag(field: str) -> str:
    """Return the flag of a setting."""
    return f"--{field.replace('_', '-')}"
