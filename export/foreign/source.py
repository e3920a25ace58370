"""A foreign ONNX file as the original of a bundle."""

import logging
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import ModelProto
from pydantic import ValidationError

from bundle.manifest import IMAGENET, Frozen, Normalization
from bundle.store import sha256
from export.answers import require_independence
from export.config import FromOnnxConfig
from export.errors import ExportError
from export.foreign import outputs
from export.foreign.model import OriginalRunner, Signature, read_signature, runs_any_batch
from export.foreign.wrap import Wrapping
from export.formats.onnx_model import opset
from export.golden_images import synthetic
from export.original import TOLERANCES, Original, read_labels
from images.transform import Pixels, ShorterSide, Size, Transform

IDENTITY = Normalization(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
# Before that Sub and Div do not broadcast, and ONNX Runtime has no kernels for them.
LEAST_OPSET = 7

logger = logging.getLogger(__name__)


class Preparation(Frozen):
    """What is done to a model's images: encoded image -> pixels -> what the network takes."""

    transform: Transform
    normalization: Normalization


# As torchvision and timm evaluate most of their models.
IMAGENET_PREPARATION = Preparation(
    transform=Transform(resize=ShorterSide(pixels=256), crop=Size(height=224, width=224)),
    normalization=IMAGENET,
)


def from_onnx(config: FromOnnxConfig) -> Original:
    """Return the file as it came; it is written inside the deployment graph.

    Raises:
        ExportError: the file is not an image classifier, or not the one that the flags describe.
    """
    labels, preparation = read_labels(config.labels), _read_preparation(config.transform)
    signature = read_signature(_read_graph(config.model), preparation.transform.crop)
    _check_normalization(signature, preparation.normalization)
    runner = OriginalRunner(config.model, signature, preparation.normalization, config.output_kind)
    pixels = np.stack([image.pixels for image in synthetic(preparation.transform)])
    outputs.check(runner.answers(pixels), labels, config.output_kind)
    _check_mates(config.model, runner, signature, pixels)
    wrapping = Wrapping(
        config.model, signature, preparation.normalization, config.output_kind, len(labels)
    )
    if signature.batch:
        wrapping = _freed(wrapping, pixels, runner(pixels))
    return Original(
        architecture=config.model.stem,
        sha256=sha256(config.model),
        labels=labels,
        transform=preparation.transform,
        normalization=preparation.normalization,
        predict=runner,
        write=wrapping.write,
        task=outputs.task(config.output_kind),
        precision=signature.precision,
        fixed_batch=wrapping.batch,
    )


def _read_preparation(name: str) -> Preparation:
    """Return the preparation of that name, or of a JSON file."""
    if name == "imagenet":
        return IMAGENET_PREPARATION
    try:
        return Preparation.model_validate_json(Path(name).read_bytes())
    except OSError as error:
        raise ExportError(
            f"--transform {name} is neither `imagenet` nor a readable file: {error}"
        ) from error
    except ValidationError as error:
        raise ExportError(f"--transform {name}: {error}") from error


def _freed(wrapping: Wrapping, pixels: Pixels, expected: NDArray[np.float32]) -> Wrapping:
    """Return a wrapping that makes the batch dynamic, if the file then runs and agrees."""
    freed, tolerance = replace(wrapping, frees=True), TOLERANCES[wrapping.signature.precision]
    with TemporaryDirectory(prefix="export-") as scratch:
        freed.write("ONNX", path := Path(scratch) / "freed.onnx")
        if runs_any_batch(path, pixels, expected, tolerance):
            return freed
    logger.info("the model runs only batches of %d; so will its bundle", wrapping.batch)
    return wrapping


def _read_graph(path: Path) -> ModelProto:
    """Return the checked model, but not what it keeps in external data."""
    try:
        onnx.checker.check_model(path)
        model = onnx.load(path, load_external_data=False)
    except (OSError, DecodeError, onnx.checker.ValidationError) as error:
        raise ExportError(f"{path} is not a readable ONNX file: {error}") from error
    if (found := opset(model)) < LEAST_OPSET:
        raise ExportError(
            f"{path} is of opset {found}; the graph around it needs {LEAST_OPSET} or newer, so "
            f"export the model again, or lift it with onnx.version_converter"
        )
    return model


def _check_normalization(signature: Signature, normalization: Normalization) -> None:
    if signature.dtype == np.uint8 and normalization != IDENTITY:
        raise ExportError(
            f"input {signature.input} takes bytes, so the model normalises them itself: "
            f"--transform must state mean 0, 0, 0 and std 1, 1, 1"
        )


def _check_mates(path: Path, runner: OriginalRunner, signature: Signature, pixels: Pixels) -> None:
    """Raise `ParityError` if an image's answer depends on its batch, before anything is done."""
    batches = [signature.batch] if signature.batch else [1, 2, 3, len(pixels)]
    allowed = TOLERANCES[signature.precision]
    require_independence(str(path), runner, batches, pixels, runner(pixels), allowed)
