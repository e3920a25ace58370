"""bundle -> a copy of it with one more file, which MindSpore Lite runs."""

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from export.contract.bundle import SEAL, Bundle, seal, sha256
from export.contract.golden import prove_pixels, prove_probabilities
from export.contract.manifest import MANIFEST, Conversion, ModelFile, Precision, PrecisionMode
from export.errors import ExportError
from export.lite import ascend
from export.lite.config import ConvertConfig
from export.lite.parity import Measured, measure
from export.original import TOLERANCES
from export.parity import open_runner, require
from export.parity_page import write_table
from export.parity_record import PARITY, read_parity
from export.precision.tolerance import from_original
from export.staging import staged

CONVERTER = Path(__file__).with_name("converter.py")

logger = logging.getLogger(__name__)


class Converted(NamedTuple):
    """The copy, the file that was added to it, and how near that comes."""

    bundle: Bundle
    measured: Measured


def convert(config: ConvertConfig) -> Converted:
    """Write the copy; it appears whole or not at all.

    Raises:
        BundleError: the bundle is damaged or holds no fp32 ONNX file.
        ExportError: the converter or the runtime fails, the copy exists already, or the images are
            not those of the bundle's record.
        ParityError, PrecisionError: the converted file does not answer as it must.
    """
    bundle = Bundle.open(config.bundle)
    source = bundle.file("onnx", "fp32")
    target = config.output / bundle.manifest.name / bundle.manifest.version
    with staged(target, overwrite=config.overwrite) as root:
        shutil.copytree(bundle.path, root, dirs_exist_ok=True, ignore=lambda *_: [SEAL])
        file = _write(bundle, source, root, config)
        measured = _prove(bundle, source, file, root, config)
        _close(bundle, root, measured)
    return Converted(Bundle.open(target), measured)


def _write(bundle: Bundle, source: ModelFile, root: Path, config: ConvertConfig) -> ModelFile:
    """Run the converter; return what the manifest will state, with a tolerance yet to be set."""
    mode, precision = _arithmetic(config)
    gears = list(config.gears or source.buckets)
    stem = f"{Path(source.path).stem.removesuffix('_fp32')}_{precision}_{config.device}"
    path = root / f"{stem}.mindir"
    logger.info("writing %s", path.name)
    with TemporaryDirectory(prefix="export-") as scratch:
        settings: dict[str, object] = {
            "model": str((bundle.path / source.path).resolve()),
            "output": str(path.with_suffix("").resolve()),
            **_settings(bundle, gears, mode, config, Path(scratch)),
        }
        version = _run(config.lite_python or Path(sys.executable), settings)
    return ModelFile(
        path=path.name,
        format="mindir-lite",
        precision=precision,
        sha256=sha256(path),
        buckets=gears,
        tolerance=TOLERANCES[precision],
        conversion=Conversion(
            device=config.device,
            soc=config.soc,
            precision_mode=mode,
            converter=f"mindspore_lite {version}",
            source_sha256=source.sha256,
        ),
    )


def _arithmetic(config: ConvertConfig) -> tuple[PrecisionMode, Precision]:
    if config.device == "cpu":
        return "enforce_fp32", "fp32"
    mode = config.precision_mode or "enforce_fp16"
    return mode, ascend.PRECISIONS[mode]


def _settings(
    bundle: Bundle, gears: list[int], mode: PrecisionMode, config: ConvertConfig, scratch: Path
) -> dict[str, object]:
    if config.device == "cpu":
        # No shape: kernels of the 2.0.0 runtime keep the batch that a file was converted for. Below
        # it they cost as much as it does, above it they write past the end of their memory.
        return {"optimize": "general"}
    name, crop = bundle.manifest.input.name, bundle.manifest.transform.crop
    image = [crop.height, crop.width, 3]
    file = scratch / "converter.cfg"
    file.write_text(ascend.config_text(name, image, gears, mode))
    settings: dict[str, object] = {
        "optimize": ascend.optimize(config.soc),
        "config_file": str(file),
    }
    return settings | ({"input_shape": {name: [*gears, *image]}} if len(gears) == 1 else {})


def _run(python: Path, settings: dict[str, object]) -> str:
    """Run the converter in its interpreter; return the version of MindSpore Lite."""
    try:
        done = subprocess.run(  # noqa: S603 - the interpreter that the operator names
            [python, CONVERTER, json.dumps(settings)], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise ExportError(f"{python} cannot be run: {error}; see --lite-python") from error
    if done.returncode:
        logger.error("%s", done.stderr)
        raise ExportError(
            f"{python} cannot convert {settings['model']} for MindSpore Lite (exit code "
            f"{done.returncode}): {done.stderr.strip().rpartition(chr(10))[2]}"
        )
    return done.stdout


def _prove(
    bundle: Bundle, source: ModelFile, file: ModelFile, root: Path, config: ConvertConfig
) -> Measured:
    """Compare the file with the original and, where there are images, with its source."""
    device = f"ascend:{config.device_id}" if config.device == "ascend" else "cpu"
    runner = open_runner(root, bundle.manifest, file, device, config.lite_python)
    try:
        measured = measure(bundle, source, file, runner, config.images)
        if file.precision != "fp32":
            allowed = from_original(file.path, file.precision, measured.largest)
            measured = measured.allowing(allowed)
        require(measured.parity)
        prove_probabilities(bundle, measured.file, *prove_pixels(bundle), runner.predict)
    finally:
        runner.close()
    return measured


def _close(bundle: Bundle, root: Path, measured: Measured) -> None:
    """Add the file to manifest and record, and seal the copy."""
    kept = [file for file in bundle.manifest.files if file.kind != measured.file.kind]
    manifest = bundle.manifest.model_copy(update={"files": [*kept, measured.file]})
    (root / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
    record = read_parity(bundle.path)
    files = [parity for parity in record.files if parity.path != measured.file.path]
    parity = record.model_copy(update={"files": [*files, measured.parity]})
    (root / PARITY).write_text(parity.model_dump_json(indent=2) + "\n")
    write_table(root, parity)
    seal(root)
