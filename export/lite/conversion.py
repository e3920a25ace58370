"""bundle -> a copy of it with one more file, which MindSpore Lite runs."""

import shutil
from pathlib import Path
from typing import NamedTuple

from bundle.golden import prove_pixels, prove_probabilities
from bundle.manifest import MANIFEST, ModelFile
from bundle.store import SEAL, Bundle, seal
from export.lite.config import ConvertConfig
from export.lite.parity import Measured, measure
from export.lite.writing import write
from export.parity.compare import open_runner, require
from export.parity.page import write_table
from export.parity.record import PARITY, read_parity
from export.precision.tolerance import from_original
from export.staging import staged


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
        file = write(bundle, source, root, config)
        measured = _prove(bundle, source, file, root, config)
        _close(bundle, root, measured)
    return Converted(Bundle.open(target), measured)


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
