"""The settings of `python -m export from-onnx`."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import CliPositionalArg, SettingsConfigDict

from export.config import BundleConfig

OutputKind = Literal["logits", "probabilities"]


class FromOnnxConfig(BundleConfig):
    """Wrap an ONNX image classifier into a bundle, proved against the file as it came.

    The file takes one batch of images, channels first or last, in float32, float16 or uint8.
    """

    model_config = SettingsConfigDict(
        cli_prog_name="python -m export from-onnx", cli_kebab_case=True
    )

    model: CliPositionalArg[Path] = Field(description="the ONNX file; external data beside it")
    labels: Path = Field(description="text file with one class label per line, in index order")
    transform: str = Field(
        description="imagenet (shorter side 256, centre crop 224, ImageNet mean and std), or a "
        "JSON file with the fields transform and normalization of a manifest"
    )
    output_kind: OutputKind = Field(description="what the file gives; logits go through a softmax")
