"""`python -m export`: bundles from a checkpoint, or `from-onnx`; convert, sign, verify, ..."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field
from pydantic_settings import CliPositionalArg, CliToggleFlag, SettingsConfigDict

from cli import program
from cli.program import Command
from export.config import ExportConfig, FromOnnxConfig, Settings
from export.lite.config import ConvertConfig
from serving.settings.signature import PublicKeys

# What an environment that only serves has not.
OF_THE_EXTRA = ("matplotlib", "mindspore", "onnx")


class VerifyConfig(Settings):
    """Prove a finished bundle on this machine; exit with 1 if it does not hold.

    Digests, manifest and golden images are always proved; with --images also the accuracy, and the
    answers to them. Without, neither is known, as the output says.
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
    public_key: PublicKeys = Field(
        (),
        description="public key (PEM) that the bundle must be signed with; of several, which are "
        "separated with commas or by repeating the flag, any",
    )


class SignConfig(Settings):
    """Sign a finished bundle: write model.sig into it, in the form of OpenSSF Model Signing.

    Whoever trusts the public key can tell that nobody changed the bundle since: `verify
    --public-key` does, and a server with --require-signature.
    """

    model_config = SettingsConfigDict(cli_prog_name="python -m export sign")

    bundle: CliPositionalArg[Path] = Field(description="directory of the bundle")
    key: Path = Field(
        description="private key (PEM): ECDSA on P-256, P-384 or P-521, as from openssl genpkey "
        "-algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem"
    )
    key_password_file: Path | None = Field(
        None, description="file with the key's password, if it is encrypted"
    )
    overwrite: bool = Field(default=False, description="replace a signature that is there")


class InspectConfig(Settings):
    """Print what a bundle holds: model, classes, transform, files, accuracy, parity."""

    model_config = SettingsConfigDict(cli_prog_name="python -m export inspect")

    bundle: CliPositionalArg[Path] = Field(description="directory of the bundle")
    as_json: CliToggleFlag[bool] = Field(
        default=False, alias="json", description="print everything, as JSON"
    )


class DiffConfig(Settings):
    """Compare the answers of two bundles.

    The exit code is 0 if they are the same, 1 if they differ, 2 if they cannot be compared.
    """

    model_config = SettingsConfigDict(cli_prog_name="python -m export diff")

    a: CliPositionalArg[Path] = Field(description="directory of a bundle")
    b: CliPositionalArg[Path] = Field(description="directory of another one")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code."""
    try:
        return program.main(COMMANDS, _errors, arguments)
    except ModuleNotFoundError as error:
        if error.name not in OF_THE_EXTRA:
            raise
        advice = "make .venv/.export installs all that export needs"
        if error.name != "mindspore":
            advice += ", make .venv-demo/.demo what from-onnx does, in .venv-demo"
        return program.fail(f"{error.name} is not installed for {sys.executable}; {advice}", 1)


# The imports are inside, so that --help need not wait for them.
def _errors() -> tuple[type[Exception], ...]:
    from bundle.keys import KeyFileError
    from bundle.store import BundleError
    from export.errors import ExportError
    from training.errors import TrainingError

    return ExportError, BundleError, KeyFileError, TrainingError


def _from_checkpoint(config: ExportConfig) -> None:
    if config.device_target == "GPU":
        from training import cuda

        cuda.prepare(config.device_id)  # before mindspore is imported
    _prepare()
    if config.graph == "bare":
        from export.bare import export_bare
        from export.report import show_bare

        show_bare(*export_bare(config))
        return
    from export.checkpoint import from_checkpoint
    from export.pipeline import export_bundle
    from export.report import show_export

    show_export(*export_bundle(from_checkpoint(config), config))


def _from_onnx(config: FromOnnxConfig) -> None:
    from export.foreign.source import from_onnx
    from export.pipeline import export_bundle
    from export.report import show_export

    _prepare()
    show_export(*export_bundle(from_onnx(config), config))


def _convert(config: ConvertConfig) -> None:
    from export.lite.bundle_copy import convert
    from export.report import show_conversion

    _prepare()
    show_conversion(*convert(config))


def _verify(config: VerifyConfig) -> None:
    from export.audit.verification import require, verify
    from export.report import show_verification

    _prepare()
    verification = verify(
        config.bundle, config.device, config.images, config.lite_python, config.public_key
    )
    show_verification(verification)
    require(verification)


def _sign(config: SignConfig) -> None:
    from export.report import show_signature
    from export.sign import PrivateKey, sign

    key = PrivateKey.read(config.key, config.key_password_file)
    show_signature(sign(config.bundle, key, overwrite=config.overwrite))


def _inspect(config: InspectConfig) -> None:
    from bundle.store import Bundle
    from export.audit.description import as_json, show

    bundle = Bundle.open(config.bundle)
    if config.as_json:
        print(as_json(bundle))
    else:
        show(bundle)


def _diff(config: DiffConfig) -> int:
    from bundle.store import Bundle
    from export.audit.difference import differences, show

    found = list(differences(Bundle.open(config.a), Bundle.open(config.b)))
    show(found)
    return int(bool(found))


def _prepare() -> None:
    """Log to standard error, and set up the decoders."""
    from images.decoders import configure

    configure()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")


COMMANDS = {
    "": Command(ExportConfig, _from_checkpoint),
    "from-onnx": Command(FromOnnxConfig, _from_onnx),
    "convert": Command(ConvertConfig, _convert),
    "sign": Command(SignConfig, _sign),
    "verify": Command(VerifyConfig, _verify),
    "inspect": Command(InspectConfig, _inspect),
    # Exit codes like those of the program `diff`: 1 for a difference, 2 for a failure.
    "diff": Command(DiffConfig, _diff, failure=2),
}


if __name__ == "__main__":
    sys.exit(main())
