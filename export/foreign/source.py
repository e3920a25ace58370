"""A foreign ONNX file as the original of a bundle."""

import logging
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from bundle.preparation import Preparation, read_preparation
from bundle.store import sha256
from export.answers import require_independence
from export.config import FromOnnxConfig
from export.errors import ExportError
from export.failures import told
from export.foreign import outputs
from export.foreign.file import nonfinite_weight, read_graph
from export.foreign.inputs import check_normalization
from export.foreign.model import OriginalRunner, runs_any_batch
from export.foreign.signature import Signature, read_signature
from export.foreign.wrap import Wrapping
from export.golden_images import synthetic
from export.labels import read_labels
from export.original import TOLERANCES, Original
from export.transform_kinds import with_kinds
from images.transform import Pixels

logger = logging.getLogger(__name__)


def from_onnx(config: FromOnnxConfig) -> Original:
    """Return the file as it came; it is written inside the deployment graph.

    Raises:
        ExportError: the file is not an image classifier, or not the one that the flags describe.
    """
    with told(f"{config.model} cannot be exported"):
        return _from_onnx(config)


def _from_onnx(config: FromOnnxConfig) -> Original:
    labels, preparation = read_labels(config.labels), _read_preparation(config.transform)
    transform = with_kinds(preparation.transform, config)
    normalization, size = preparation.normalization, transform.crop
    model = read_graph(config.model)
    signature = read_signature(model, size, config.output_name, config.channel_order)
    check_normalization(signature, normalization)
    runner = OriginalRunner(config.model, signature, normalization, config.output_kind)
    pixels = np.stack([image.pixels for image in synthetic(transform)])
    answers = runner.answers(pixels)
    _check_weights(answers, config.model)
    outputs.check(answers, labels, config.output_kind)
    _check_mates(config.model, runner, signature, pixels)
    signature = replace(signature, has_batch_axis=runner.gives_a_batch(pixels))
    wrapping = Wrapping(config.model, signature, normalization, config.output_kind, len(labels))
    if signature.batch and signature.has_batch_axis:
        wrapping = _freed(wrapping, pixels, runner(pixels))
    return Original(
        architecture=_printable(config.model.stem),
        sha256=sha256(config.model),
        labels=labels,
        transform=transform,
        normalization=normalization,
        predict=runner,
        write=wrapping.write,
        task=outputs.task(config.output_kind),
        precision=signature.precision,
        fixed_batch=wrapping.batch,
    )


def _printable(name: str) -> str:
    """Return a file's name without what no JSON file takes (bytes of no text), or no terminal."""
    return "".join(letter if letter.isprintable() else "_" for letter in name)


def _read_preparation(name: str) -> Preparation:
    try:
        return read_preparation(name)
    except ValueError as error:
        raise ExportError(str(error)) from error


def _freed(wrapping: Wrapping, pixels: Pixels, expected: NDArray[np.float32]) -> Wrapping:
    """Return a wrapping that makes the batch dynamic, if the file then runs and agrees."""
    freed, tolerance = replace(wrapping, frees=True), TOLERANCES[wrapping.signature.precision]
    with TemporaryDirectory(prefix="export-") as scratch:
        freed.write("ONNX", path := Path(scratch) / "freed.onnx")
        if runs_any_batch(path, pixels, expected, tolerance):
            return freed
    logger.info("the model runs only batches of %d; so will its bundle", wrapping.batch)
    return wrapping


def _check_weights(answers: NDArray[np.float64], path: Path) -> None:
    """Name the weight to blame, if there is one, for answers that are no numbers."""
    if not np.isfinite(answers).all() and (weight := nonfinite_weight(path)):
        raise ExportError(
            f"the model answers with NaN or infinity, because its weight {weight} holds some"
        )


def _check_mates(path: Path, runner: OriginalRunner, signature: Signature, pixels: Pixels) -> None:
    """Raise `ParityError` if an image's answer depends on its batch, before anything is done."""
    batches = [signature.batch] if signature.batch else [1, 2, 3, len(pixels)]
    allowed = TOLERANCES[signature.precision]
    require_independence(str(path), runner, batches, pixels, runner(pixels), allowed)
