"""The settings of the commands that read finished bundles: `verify`, `inspect` and `diff`."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import CliPositionalArg, CliToggleFlag, SettingsConfigDict

from export.config import Settings


class VerifyConfig(Settings):
    """Prove a finished bundle on this machine; exit with 1 if it does not hold.

    Digests, manifest and golden images are always proved; with --images also the accuracy.
    """

    model_config = SettingsConfigDict(cli_prog_name="python -m export verify")

    bundle: CliPositionalArg[Path] = Field(description="directory of the bundle")
    device: str = Field("cpu", description="where the ONNX files run: cpu, cuda, cuda:<index>")
    lite_python: Path | None = Field(
        None, description="Python interpreter that has mindspore_lite, for mindir-lite files"
    )
    images: Path | None = Field(
        None,
        description="evaluation data, as for the export: on the recorded set the accuracies must "
        "be the recorded ones",
    )


class InspectConfig(Settings):
    """Print what a bundle holds: model, classes, transform, files, accuracy, parity."""

    model_config = SettingsConfigDict(cli_prog_name="python -m export inspect")

    bundle: CliPositionalArg[Path] = Field(description="directory of the bundle")
    as_json: CliToggleFlag[bool] = Field(
        default=False, alias="json", description="print everything, as JSON"
    )


class DiffConfig(Settings):
    """Compare the answers of two bundles: exit with 0 if they are the same, with 1 if not.

    It exits with 2 if it cannot tell.
    """

    model_config = SettingsConfigDict(cli_prog_name="python -m export diff")

    a: CliPositionalArg[Path] = Field(description="directory of a bundle")
    b: CliPositionalArg[Path] = Field(description="directory of another one")
