"""The settings of an export: flags, environment (`EXPORT_...`) and help come from here."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bundle.manifest import Name, Precision
from export.formats import FileFormat


class BundleConfig(BaseSettings):
    """Where a bundle goes, and what it is compared on; shared by all that write one."""

    model_config = SettingsConfigDict(
        env_prefix="EXPORT_",
        frozen=True,
        cli_prog_name="python -m export",
        cli_enforce_required=True,
        cli_hide_none_type=True,
        cli_implicit_flags=True,
        cli_shortcuts={"max_accuracy_drop": "max-accuracy-drop"},
    )

    output: Path = Field(Path("bundles"), description="directory of the bundles")
    name: Name | None = Field(
        None, description="name of the bundle; without it that of the architecture"
    )
    version: Name | None = Field(
        None, description="version of the bundle; without it the next free number"
    )
    overwrite: bool = Field(default=False, description="replace a version that exists")
    images: Path | None = Field(
        None,
        description="evaluation data: a folder of IDX files, or one folder of images per class; "
        "without it the golden images are synthetic and no accuracy is stated",
    )
    precision: Annotated[tuple[Precision, ...] | None, NoDecode] = Field(
        None,
        description="precisions of the ONNX file, with commas between: fp32, fp16, int8; "
        "without it what the model comes in, fp32 for a checkpoint",
    )
    max_accuracy_drop: NonNegativeFloat = Field(
        0.5, description="largest loss of top-1 accuracy that int8 may cost, in points of a hundred"
    )
    batch_size: PositiveInt = Field(
        32, description="largest batch that a server warms; the files take any batch size"
    )
    file_name: Name = Field("model", description="stem of the model files inside the bundle")

    @field_validator("precision", "file_format", mode="before", check_fields=False)
    @classmethod
    def _split(cls, value: object) -> object:
        return value.split(",") if isinstance(value, str) else value

    @field_validator("precision", "file_format", check_fields=False)
    @classmethod
    def _once_each(cls, values: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if values is not None and (not values or len(set(values)) < len(values)):
            raise ValueError("name at least one, and each only once")
        return values

    @model_validator(mode="after")
    def _precision_can_be_made(self) -> "BundleConfig":
        asked = self.precision or ()
        if "int8" in asked and self.images is None:
            raise ValueError(
                "int8 is calibrated and judged on real images: name a folder with a training and "
                "a test part, --images DIR"
            )
        if {*asked} - {"fp32"} and "ONNX" not in self.formats:
            raise ValueError(
                "fp16 and int8 are written as ONNX alone: add ONNX to --file_format, or leave "
                "--precision out"
            )
        return self

    @property
    def buckets(self) -> list[int]:
        """Batch sizes that a server warms: the powers of two below `batch_size`, and itself."""
        powers = [1 << i for i in range(self.batch_size.bit_length())]
        return sorted({*powers, self.batch_size} - {p for p in powers if p > self.batch_size})

    @property
    def formats(self) -> tuple[FileFormat, ...]:
        """What to write."""
        return ("ONNX",)

    @property
    def device(self) -> str:
        """Where a server's runtime proves the files."""
        return "cpu"


class ExportConfig(BundleConfig):
    """Turn a checkpoint into a bundle: model files, golden images, and the proof that they agree.

    The bundle is written to <output>/<name>/<version>/. To turn an ONNX file into a bundle:
    python -m export from-onnx --help
    """

    ckpt_file: Path = Field(
        description="the checkpoint with its .json beside it, or one of the upstream scripts, "
        "which has none: then --architecture says what it is"
    )
    architecture: str | None = Field(
        None, description="member of the network family, for a checkpoint without .json"
    )
    labels: Path | None = Field(
        None,
        description="text file with one class label per line, for a checkpoint without .json; "
        "without it a class is called by its index",
    )
    file_format: Annotated[tuple[FileFormat, ...], NoDecode] = Field(
        ("ONNX",), description="formats to write, with commas between: ONNX, MINDIR, AIR"
    )
    device_target: Literal["CPU", "GPU", "Ascend"] = Field(
        "CPU", description="where MindSpore runs the checkpoint and writes the files"
    )
    device_id: NonNegativeInt = Field(0, description="index of that device")
    width: PositiveInt | None = Field(
        None,
        description="width of the network's images in pixels; for a checkpoint without .json "
        "224 unless given, otherwise it must be the checkpoint's",
    )
    height: PositiveInt | None = Field(
        None, description="height of the network's images in pixels; likewise"
    )

    @model_validator(mode="after")
    def _device_writes_format(self) -> "ExportConfig":
        if "AIR" in self.file_format and self.device_target != "Ascend":
            raise ValueError(
                f"AIR is written on an Ascend NPU alone, not on {self.device_target}: run this on "
                f"an Ascend host with --device_target Ascend; elsewhere write ONNX, which the "
                f"converter of MindSpore Lite turns into a file for Ascend"
            )
        return self

    @property
    def formats(self) -> tuple[FileFormat, ...]:
        """What to write."""
        return self.file_format

    @property
    def device(self) -> str:
        """Where a server's runtime proves the files."""
        return f"cuda:{self.device_id}" if self.device_target == "GPU" else "cpu"
