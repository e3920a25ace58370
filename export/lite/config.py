"""The settings of `python -m export convert`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator
from pydantic_settings import BaseSettings, CliPositionalArg, NoDecode, SettingsConfigDict

from bundle.manifest import PrecisionMode

# Of the offline model converter of CANN.
MOST_GEARS = 100


class ConvertConfig(BaseSettings):
    """Convert a bundle's ONNX file for MindSpore Lite, prove the result, and add it to a copy.

    The copy is written to <output>/<name>/<version>/. For Ascend run it on the host of the NPU.
    """

    model_config = SettingsConfigDict(
        env_prefix="EXPORT_",
        frozen=True,
        cli_prog_name="python -m export convert",
        cli_kebab_case=True,
        cli_enforce_required=True,
        cli_hide_none_type=True,
        cli_implicit_flags=True,
    )

    bundle: CliPositionalArg[Path] = Field(description="directory of the bundle")
    device: Literal["cpu", "ascend"] = Field("cpu", description="what the file will run on")
    device_id: NonNegativeInt = Field(0, description="index of the NPU that proves it")
    soc: str | None = Field(
        None, description="NPU model for which the converter optimizes, as it calls it, e.g. 910b"
    )
    precision_mode: PrecisionMode | None = Field(
        None,
        description="arithmetic on the NPU, normalisation and softmax included; unset: "
        "enforce_fp16",
    )
    gears: Annotated[tuple[PositiveInt, ...] | None, NoDecode] = Field(
        None,
        description="batch sizes that the NPU will run, rising, by commas; unset: the bundle's",
    )
    lite_python: Path | None = Field(
        None, description="Python interpreter that has mindspore_lite; unset: this one"
    )
    images: Path | None = Field(
        None,
        description="the evaluation data of the bundle's parity record, to compare with the ONNX "
        "file on all of it; unset: only the golden images are compared",
    )
    output: Path = Field(Path("bundles"), description="directory of the bundles")
    overwrite: bool = Field(default=False, description="replace a version that exists")

    @field_validator("gears", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return value.split(",") if isinstance(value, str) else value

    @field_validator("gears")
    @classmethod
    def _rise(cls, gears: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if gears and (list(gears) != sorted(set(gears)) or len(gears) > MOST_GEARS):
            raise ValueError(f"{list(gears)} must rise, and be at most {MOST_GEARS} sizes")
        return gears

    @model_validator(mode="after")
    def _belongs_to_the_device(self) -> "ConvertConfig":
        ascend = {"soc": self.soc, "precision-mode": self.precision_mode, "gears": self.gears}
        if self.device == "cpu" and (given := [f"--{k}" for k, v in ascend.items() if v]):
            raise ValueError(f"{', '.join(given)}: for --device ascend only")
        return self
