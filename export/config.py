"""Settings of the commands that write a bundle: flags, environment (`EXPORT_...`) and help."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)
from pydantic_settings import BaseSettings, CliPositionalArg, NoDecode, SettingsConfigDict

from bundle.manifest import Name, Precision
from cli.program import FLAGS
from export.original import FileFormat
from images.resampling import Resampler
from images.transform import Decoding

Graph = Literal["deployment", "bare"]
OutputKind = Literal[
    "logits", "probabilities", "binary", "binary-logits", "multilabel", "multilabel-logits"
]
ChannelOrder = Literal["rgb", "bgr"]
# What says something of a bundle, and nothing of the network alone.
OF_A_BUNDLE = {"name", "version", "max_accuracy_drop", "batch_size", "resampler", "decoding"}


def split_commas(value: object) -> object:
    """Return the parts of a text that is separated with commas; a list is one already."""
    return value.split(",") if isinstance(value, str) else value


def _once_each(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if values is not None and (not values or len(set(values)) < len(values)):
        raise ValueError("name at least one, and each only once")
    return values


# Comma-separated on the command line and in the environment.
Precisions = Annotated[
    tuple[Precision, ...] | None,
    NoDecode,
    BeforeValidator(split_commas),
    AfterValidator(_once_each),
]
FileFormats = Annotated[
    tuple[FileFormat, ...], NoDecode, BeforeValidator(split_commas), AfterValidator(_once_each)
]


class Settings(BaseSettings):
    """What all commands have in common."""

    model_config = SettingsConfigDict(
        **FLAGS, env_prefix="EXPORT_", frozen=True, cli_implicit_flags=True
    )


class BundleConfig(Settings):
    """Shared by both ways of making a bundle: where it goes, and what it is compared on."""

    output: Path = Field(Path("bundles"), description="directory of the bundles")
    name: Name | None = Field(
        None,
        description="name of the bundle; by default that of the architecture or of the ONNX file",
    )
    version: Name | None = Field(
        None, description="version of the bundle; by default the next free number"
    )
    overwrite: bool = Field(default=False, description="replace a version that exists")
    images: Path | None = Field(
        None,
        description="evaluation data: a folder of IDX files; one folder of images per class, "
        "named like its label, for all classes or some; or photos without classes, of which every "
        "second is compared, so accuracy is not known; without it the golden images are synthetic "
        "and accuracy is not known either",
    )
    precision: Precisions = Field(
        None,
        description="comma-separated precisions of the ONNX file: fp32, bf16, fp16, int8; by "
        "default the model's own, fp32 for a checkpoint",
    )
    max_accuracy_drop: NonNegativeFloat = Field(
        0.5,
        description="largest loss of top-1 accuracy that bf16 or int8 may cost, in percentage "
        "points; of photos without classes, how many percent may get another first class",
    )
    batch_size: PositiveInt = Field(
        32, description="largest batch that a server warms up; the files take any batch size"
    )
    file_name: Name = Field("model", description="stem of the model files")
    resampler: Resampler | None = Field(
        None,
        description="what resizes images, of a transform with antialias: pillow; or "
        "fast_image_resize, several times as fast and on photos within 1 of Pillow's pixels "
        "(Linux on aarch64 has no wheel of it); by default the transform's own, as a rule pillow",
    )
    decoding: Decoding | None = Field(
        None,
        description="reduced: a large JPEG is decoded at 1/2, 1/4 or 1/8 of its size, with at "
        "least twice the size of the resize; what that costs is measured on --images; full: as it "
        "is; by default the transform's own, as a rule full",
    )

    @model_validator(mode="after")
    def _precision_can_be_made(self) -> "BundleConfig":
        asked = self.precision or ()
        if "int8" in asked and self.images is None:
            raise ValueError(
                "int8 is calibrated and judged on real images: name a folder with a training and "
                "a test part, or of photos without classes, --images DIR"
            )
        if "bf16" in asked and "fp32" not in asked:
            raise ValueError(
                "bf16 has no file of its own, it is the fp32 file computed in bfloat16: ask for "
                "both, --precision fp32,bf16"
            )
        if {*asked} - {"fp32"} and "ONNX" not in self.formats:
            raise ValueError(
                "bf16, fp16 and int8 are of ONNX files only: add ONNX to --file-format, or leave "
                "--precision out"
            )
        return self

    @property
    def buckets(self) -> list[int]:
        """Batch sizes that a server warms up: the powers of two below `batch_size`, and itself."""
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

    The bundle is written to <output>/<name>/<version>/; --graph bare writes none. Other commands,
    each with its own --help: from-onnx (a bundle from an ONNX file), convert (for MindSpore Lite),
    sign, verify, inspect, diff.
    """

    model_config = SettingsConfigDict(cli_prog_name="python -m export")

    ckpt_file: Path = Field(
        description="a checkpoint with its .json beside it, or one without: of the upstream "
        "scripts, of mindcv (.ckpt), torchvision or timm (.pth, .safetensors)"
    )
    architecture: str | None = Field(
        None,
        description="member of the network family, for a checkpoint without .json; unset: what "
        "its weights say",
    )
    labels: Path | None = Field(
        None,
        description="text file with one class label per line, for a checkpoint without .json; "
        "by default a class is called by its index",
    )
    transform: str | None = Field(
        None,
        description="how images are prepared for a checkpoint without .json: imagenet (shorter "
        "side 256, centre crop 224, ImageNet mean and std), or a JSON file with the fields "
        "transform and normalization; by default as those evaluate whose weights they are",
    )
    file_format: FileFormats = Field(
        ("ONNX",), description="comma-separated formats to write: ONNX, MINDIR, AIR"
    )
    graph: Graph = Field(
        "deployment",
        description="deployment: a bundle, whose files take bytes and give probabilities; bare: "
        "instead of a bundle the network alone, <output>/<file-name>.onnx, from float32 (batch, 3, "
        "height, width), normalised, to logits, for a pipeline of your own",
    )
    device_target: Literal["CPU", "GPU", "Ascend"] = Field(
        "CPU", description="where MindSpore runs the checkpoint and writes the files"
    )
    device_id: NonNegativeInt = Field(0, description="index of that device")
    width: PositiveInt | None = Field(
        None,
        description="width of the network's images in pixels; for a checkpoint without .json "
        "224 by default, otherwise it must be the checkpoint's",
    )
    height: PositiveInt | None = Field(
        None, description="height of the network's images in pixels; as for --width"
    )

    @model_validator(mode="after")
    def _device_writes_format(self) -> "ExportConfig":
        if "AIR" in self.file_format and self.device_target != "Ascend":
            raise ValueError(
                f"AIR is written only on an Ascend NPU, not on {self.device_target}: run this on "
                f"an Ascend host with --device-target Ascend; elsewhere write ONNX, which the "
                f"converter of MindSpore Lite turns into a file for Ascend"
            )
        return self

    @model_validator(mode="after")
    def _belongs_to_the_graph(self) -> "ExportConfig":
        if self.graph == "deployment":
            return self
        if given := [f"--{name.replace('_', '-')}" for name in OF_A_BUNDLE & self.model_fields_set]:
            raise ValueError(
                f"{', '.join(sorted(given))}: of a bundle only; --graph bare writes none, only "
                f"<output>/<file-name> in each format"
            )
        if {*(self.precision or ())} - {"fp32"}:
            raise ValueError("--graph bare is float32: leave --precision out")
        if "AIR" in self.file_format:
            raise ValueError("--graph bare is proved, which nothing can do with AIR: write ONNX")
        return self

    @property
    def formats(self) -> tuple[FileFormat, ...]:
        """What to write."""
        return self.file_format

    @property
    def device(self) -> str:
        """Where a server's runtime proves the files."""
        return f"cuda:{self.device_id}" if self.device_target == "GPU" else "cpu"


class FromOnnxConfig(BundleConfig):
    """Wrap an ONNX image classifier into a bundle, proved against the file as it came.

    The file takes one batch of images, channels first or last, in float32, float16 or uint8.
    """

    model_config = SettingsConfigDict(cli_prog_name="python -m export from-onnx")

    model: CliPositionalArg[Path] = Field(description="the ONNX file; external data beside it")
    labels: Path = Field(description="text file with one class label per line, in index order")
    transform: str = Field(
        description="imagenet (shorter side 256, centre crop 224, ImageNet mean and std), or a "
        "JSON file with the fields transform and normalization, such as the manifest of a bundle"
    )
    output_kind: OutputKind = Field(
        description="what the file gives: logits (they go through a softmax) or probabilities; "
        "binary, the probability of the second of two labels; multilabel, a probability of each "
        "class by itself; of these two also -logits (they go through a sigmoid)"
    )
    output_name: str | None = Field(
        None, description="name of the output to serve, of a file that has several"
    )
    channel_order: ChannelOrder = Field(
        "rgb",
        description="order of the channels that the model was trained on: bgr if its images were "
        "read by OpenCV; mean and std are in RGB order in any case",
    )
