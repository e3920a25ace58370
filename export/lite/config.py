"""Settings of `python -m export convert`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)
from pydantic_settings import CliPositionalArg, NoDecode, SettingsConfigDict

from bundle.manifest import PrecisionMode
from export.config import Settings, split_commas

# Limit of CANN's offline model converter.
MOST_GEARS = 100


def _rise(gears: tuple[int, ...] | None) -> tuple[int, ...] | None:
    if gears and (list(gears) != sorted(set(gears)) or len(gears) > MOST_GEARS):
        raise ValueError(f"{list(gears)} must rise, and be at most {MOST_GEARS} sizes")
    return gears


# Comma-separated on the command line and in the environment.
Gears = Annotated[
    tuple[PositiveInt, ...] | None, NoDecode, BeforeValidator(split_commas), AfterValidator(_rise)
]


class ConvertConfig(Settings):
    """Convert a bundle's ONNX file for MindSpore Lite, prove the result, and add it to a copy.

    The copy is written to <output>/<name>/<version>/. For Ascend run it on the host of the NPU.
    """

    model_config = SettingsConfigDict(cli_prog_name="python -m export convert")

    bundle: CliPositionalArg[Path] = Field(description="directory of the bundle")
    device: Literal["cpu", "ascend"] = Field("cpu", description="what the file will run on")
    device_id: NonNegativeInt = Field(0, description="index of the NPU that proves it")
    soc: str | None = Field(
        None, description="NPU model to optimize for, in the converter's spelling, e.g. 910b"
    )
    precision_mode: PrecisionMode | None = Field(
        None,
        description="arithmetic on the NPU, normalisation and softmax included; by default "
        "enforce_fp16",
    )
    gears: Gears = Field(
        None,
        description="comma-separated batch sizes, rising, that the NPU will run (CANN calls them "
        "gears); by default the bundle's",
    )
    lite_python: Path | None = Field(
        None, description="Python interpreter that has mindspore_lite; by default this one"
    )
    images: Path | None = Field(
        None,
        description="the evaluation data of the bundle's parity record, to compare with the ONNX "
        "file on all of it; by default only the golden images are compared",
    )
    output: Path = Field(Path("bundles"), description="directory of the bundles")
    overwrite: bool = Field(default=False, description="replace a version that exists")

    @model_validator(mode="after")
    def _belongs_to_the_device(self) -> "ConvertConfig":
        ascend = {"soc": self.soc, "precision-mode": self.precision_mode, "gears": self.gears}
        if self.device == "cpu" and (given := [f"--{k}" for k, v in ascend.items() if v]):
            raise ValueError(f"{', '.join(given)}: for --device ascend only")
        return self
