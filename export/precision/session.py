"""An ONNX file while it is being reduced, in ONNX Runtime on the CPU."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnxruntime

from export.evaluation.image_sets import Probabilities
from export.formats import INPUT, OUTPUT
from images.transform import Pixels


def answers(path: Path, batches: Iterable[Pixels], batch: int) -> Probabilities:
    """Return float32 (n, classes) for uint8 (at most batch, height, width, 3) images each.

    It always runs `batch` images at once, padded with zeros: some files run nothing else.
    """
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    rows = []
    for pixels in batches:
        [probabilities] = session.run([OUTPUT], {INPUT: _padded(pixels, batch)})
        rows.append(probabilities[: len(pixels)])
    return np.concatenate(rows)


def _padded(pixels: Pixels, batch: int) -> Pixels:
    padded = np.zeros((batch, *pixels.shape[1:]), np.uint8)
    padded[: len(pixels)] = pixels
    return padded
