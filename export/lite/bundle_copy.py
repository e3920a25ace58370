"""A copy of a bundle with one more file, which MindSpore Lite runs; proved without MindSpore."""

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bundle.golden import prove_pixels, prove_probabilities
from bundle.manifest import MANIFEST, ModelFile
from bundle.mates import prove_mates
from bundle.store import SEAL, SIGNATURE, Bundle, seal
from export.errors import ExportError
from export.evaluation_set import Fingerprint, open_images, progress
from export.lite.config import ConvertConfig
from export.lite.converter import convert_file
from export.parity import Runner, compare, open_runner, require
from export.parity_page import write_table
from export.parity_record import PARITY, FileParity, read_parity
from export.precision.cost import tolerance
from export.proof import Proof
from export.staging import staged, write_json


class BundleCopy(NamedTuple):
    """The copy, and how close the added file comes."""

    bundle: Bundle
    parity: FileParity


def convert(config: ConvertConfig) -> BundleCopy:
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
        shutil.copytree(bundle.path, root, dirs_exist_ok=True, ignore=lambda *_: [SEAL, SIGNATURE])
        file = convert_file(bundle, source, root, config)
        proof = _prove(bundle, source, file, root, config)
        _close(bundle, root, proof)
    return BundleCopy(Bundle.open(target), *proof.parities)


def _prove(
    bundle: Bundle, source: ModelFile, file: ModelFile, root: Path, config: ConvertConfig
) -> Proof:
    """Compare the file with the original on the golden images, and with its source on the rest."""
    device = f"ascend:{config.device_id}" if config.device == "ascend" else "cpu"
    runner = open_runner(root, bundle.manifest, file, device, config.lite_python)
    try:
        golden, pixels = prove_pixels(bundle)
        parity = compare(file, runner, runner.predict(pixels), golden.probabilities(), None)
        largest, measured = parity.largest_difference, len(pixels)
        if config.images:
            parity = _on_images(bundle, source, file, runner, config.images)
            largest = max(largest, parity.largest_difference)
            measured += read_parity(bundle.path).images
        else:
            parity = parity.model_copy(update={"compared_with": "golden"})
        proof = Proof(file, [parity])
        if file.precision != "fp32":
            proof = proof.allowing(tolerance(file.path, file.precision, largest), measured)
        require(*proof.parities)
        proved = bundle, proof.file, golden, pixels, runner.predict, runner.runtime
        prove_probabilities(*proved)
        prove_mates(*proved, file.buckets)
    finally:
        runner.close()
    return proof


def _on_images(
    bundle: Bundle, source: ModelFile, file: ModelFile, runner: Runner, folder: Path
) -> FileParity:
    """Compare the file with its source on the evaluation data of the bundle's record.

    Raises:
        ExportError: the images are others.
    """
    manifest = bundle.manifest
    images = open_images(folder, manifest.labels, manifest.transform, manifest.task)
    reference = open_runner(bundle.path, bundle.manifest, source, "cpu")
    fingerprint, expected, actual = Fingerprint(), [], []
    batches = fingerprint.of(images.batches(max(file.buckets)))
    for pixels in progress(batches, len(images), file.path):
        expected.append(reference.predict(pixels))
        actual.append(runner.predict(pixels))
    if fingerprint.hexdigest(images.labels) != read_parity(bundle.path).images_sha256:
        raise ExportError(
            f"--images {folder}: these are not the images that the bundle was evaluated on; leave "
            f"--images out to compare with the golden images only"
        )
    parity = compare(file, runner, np.concatenate(actual), np.concatenate(expected), images.labels)
    return parity.model_copy(update={"compared_with": "onnx"})


def _close(bundle: Bundle, root: Path, proof: Proof) -> None:
    """Add the file to manifest and record, and seal the copy."""
    kept = [file for file in bundle.manifest.files if file.kind != proof.file.kind]
    manifest = bundle.manifest.model_copy(update={"files": [*kept, proof.file]})
    write_json(root / MANIFEST, manifest)
    record = read_parity(bundle.path)
    files = [parity for parity in record.files if parity.title != proof.file.title]
    parity = record.model_copy(update={"files": [*files, *proof.parities]})
    write_json(root / PARITY, parity)
    write_table(root, parity)
    seal(root)
