"""Which bundles run, and on what."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode

from bundle.kinds import Name, Precision
from serving.backends.settings import CUDA_OPTIONS, DEFAULTS, Runtime, RuntimeSettings
from serving.settings.types import Bucket, LitePython, Milliseconds, Seconds, Threads


class ModelSettings(BaseSettings):
    """Bundles, runtimes, devices and threads."""

    model: Annotated[list[Path], NoDecode] = Field(
        [],
        description="bundle directory; for several, repeat the flag or separate with commas",
    )
    model_name: Name | None = Field(
        None,
        description="name that the bundle of --model is served by, in place of its own; with one "
        "--model and no --repository",
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
    also_precision: Annotated[tuple[Precision, ...], NoDecode] = Field(
        (),
        description="precisions, separated with commas, in which each bundle of --model is served "
        "besides: version 1 also as 1-int8, for who asks for that, or compares them on the page",
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
    slo_ms: Milliseconds | None = Field(
        None,
        description="target for the 99th percentile of latency, in milliseconds; limits the batch "
        "size; unset: no such limit",
    )

    @property
    def runtime_settings(self) -> RuntimeSettings:
        """The settings that runtimes need."""
        return RuntimeSettings(**{name: getattr(self, name) for name in RuntimeSettings._fields})

    @field_validator("model", "buckets", "cuda_options", "also_precision", mode="before")
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
