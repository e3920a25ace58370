"""A foreign ONNX file as the original of a bundle."""

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import ModelProto

from export.contract.bundle import sha256
from export.contract.manifest import Normalization
from export.errors import ExportError
from export.foreign.config import FromOnnxConfig, OutputKind
from export.foreign.preparation import read_preparation
from export.foreign.runner import OriginalRunner, runs_any_batch
from export.foreign.signature import Signature, read_signature
from export.foreign.wrap import free_batch, wrap
from export.formats import FileFormat
from export.formats.opset import opset
from export.golden_images import synthetic
from export.labels import read_labels
from export.original import TOLERANCES, Original

IDENTITY = Normalization(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
SUM_TOLERANCE = 1e-2
# Before that Sub and Div do not broadcast, and ONNX Runtime has no kernels for them.
LEAST_OPSET = 7

logger = logging.getLogger(__name__)


def from_onnx(config: FromOnnxConfig) -> Original:
    """Return the file as it came; it is written inside the deployment graph.

    Raises:
        ExportError: the file is no image classifier, or not the one that the flags describe.
    """
    labels, preparation = read_labels(config.labels), read_preparation(config.transform)
    model = _load(config.model)
    signature = read_signature(model, preparation.transform.crop)
    _check_normalization(signature, preparation.normalization)
    runner = OriginalRunner(config.model, signature, preparation.normalization, config.output_kind)
    pixels = np.stack([image.pixels for image in synthetic(preparation.transform)])
    _check_answers(runner.answers(pixels), labels, config.output_kind)
    build = partial(
        wrap,
        normalization=preparation.normalization,
        output_kind=config.output_kind,
        classes=len(labels),
    )
    wrapped, batch = build(model, signature), signature.batch
    if batch:
        freed = build(free_batch(model, signature), replace(signature, batch=None))
        if runs_any_batch(freed, pixels, runner(pixels), TOLERANCES[signature.precision]):
            wrapped, batch = freed, None
        else:
            logger.info("the model runs batches of %d alone; so will its bundle", batch)
    onnx.checker.check_model(wrapped)
    return Original(
        architecture=config.model.stem,
        sha256=sha256(config.model),
        labels=labels,
        transform=preparation.transform,
        normalization=preparation.normalization,
        predict=runner,
        write=partial(_write, wrapped),
        precision=signature.precision,
        fixed_batch=batch,
    )


def _write(wrapped: ModelProto, file_format: FileFormat, path: Path) -> None:
    if file_format != "ONNX":
        raise ExportError(f"a bundle from an ONNX file holds ONNX alone, not {file_format}")
    onnx.save(wrapped, path)


def _load(path: Path) -> ModelProto:
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except (OSError, DecodeError, onnx.checker.ValidationError) as error:
        raise ExportError(f"{path} is not a readable ONNX file: {error}") from error
    if (found := opset(model)) < LEAST_OPSET:
        raise ExportError(
            f"{path} is of opset {found}; the graph around it needs {LEAST_OPSET} or newer, so "
            f"export the model anew, or lift it with onnx.version_converter"
        )
    return model


def _check_normalization(signature: Signature, normalization: Normalization) -> None:
    if signature.dtype == np.uint8 and normalization != IDENTITY:
        raise ExportError(
            f"input {signature.input} takes bytes, so the model normalises them itself: "
            f"--transform must state mean 0, 0, 0 and std 1, 1, 1"
        )


def _check_answers(answers: NDArray[np.float64], labels: list[str], kind: OutputKind) -> None:
    """Compare what the file gives with what the flags say of it."""
    if answers.shape[1] != len(labels):
        raise ExportError(f"the model has {answers.shape[1]} classes, --labels names {len(labels)}")
    sums = answers.sum(axis=1)
    certain = answers.min() >= 0 and np.abs(sums - 1).max() <= SUM_TOLERANCE
    if certain != (kind == "probabilities"):
        raise ExportError(
            f"--output-kind {kind}: the model's answers lie between {answers.min():.3g} and "
            f"{answers.max():.3g} and sum to {sums.min():.3g} to {sums.max():.3g}, so they are "
            f"{'probabilities' if certain else 'logits'}"
        )
