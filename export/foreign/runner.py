"""The file as it came, in ONNX Runtime, with everything around it worked out in numpy."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from bundle.manifest import Normalization
from export.config import OutputKind
from export.errors import ExportError
from export.evaluation.image_sets import padded
from export.foreign.signature import Signature
from export.original import INPUT
from images.transform import Pixels


class OriginalRunner:
    """Runs the untouched file on uint8 pixels (n, height, width, 3)."""

    def __init__(
        self,
        path: Path,
        signature: Signature,
        normalization: Normalization,
        output_kind: OutputKind,
    ) -> None:
        try:
            self._session = onnxruntime.InferenceSession(path, _quiet())
        except Exception as error:
            raise ExportError(f"{path}: ONNX Runtime cannot load it: {error}") from error
        self._path, self._signature, self._kind = path, signature, output_kind
        self._mean = np.array(normalization.mean, np.float32)
        self._std = np.array(normalization.std, np.float32)

    def answers(self, pixels: Pixels) -> NDArray[np.float64]:
        """Return what the file gives, whatever it is, as (n, classes); raise `ExportError`."""
        batch = self._signature.batch or len(pixels)
        parts = [self._run(pixels[i : i + batch], batch) for i in range(0, len(pixels), batch)]
        return np.concatenate(parts).astype(np.float64)

    def __call__(self, pixels: Pixels) -> NDArray[np.float32]:
        """Return float32 probabilities (n, classes)."""
        answers = self.answers(pixels)
        if self._kind == "logits":
            powers = np.exp(answers - answers.max(axis=1, keepdims=True))
            answers = powers / powers.sum(axis=1, keepdims=True)
        return answers.astype(np.float32)

    def _run(self, pixels: Pixels, batch: int) -> NDArray[Any]:
        feed = {self._signature.input: self._prepared(padded(pixels, batch))}
        try:
            answers: NDArray[Any] = self._session.run([self._signature.output], feed)[0]
        except Exception as error:  # ONNX Runtime's errors share no base
            raise ExportError(f"{self._mismatch(batch)}: {error}") from error
        if answers.shape[:1] != (batch,):
            raise ExportError(f"{self._mismatch(batch)}: the output has shape {answers.shape}")
        return answers.reshape(batch, -1)[: len(pixels)]

    def _mismatch(self, batch: int) -> str:
        fixed = self._signature.batch is not None
        return (
            f"{self._path} states that input {self._signature.input} takes "
            f"{f'{batch} images' if fixed else 'any batch'}, but {batch} images do not give "
            f"{batch} answers; export it again with {'another' if fixed else 'a fixed'} batch, or "
            f"so that the batch is kept throughout (reshape to -1)"
        )

    def _prepared(self, pixels: Pixels) -> NDArray[Any]:
        images: NDArray[Any] = pixels
        if self._signature.dtype != np.uint8:
            images = ((pixels.astype(np.float32) - self._mean) / self._std).astype(
                self._signature.dtype
            )
        return images.transpose(0, 3, 1, 2) if self._signature.layout == "NCHW" else images


def runs_any_batch(
    path: Path, pixels: Pixels, expected: NDArray[np.float32], tolerance: float
) -> bool:
    """Return whether the wrapped model at `path` answers as expected in batches of any size."""
    try:
        session = onnxruntime.InferenceSession(path, _quiet())
        for batch in (1, 3, len(pixels)):
            [answers] = session.run(None, {INPUT: pixels[:batch]})
            if not np.allclose(answers, expected[:batch], rtol=0, atol=tolerance):
                return False
    except Exception:  # noqa: BLE001  # ONNX Runtime's errors share no base; any says no
        return False
    return True


def _quiet() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    # Only fatal errors: a batch size that does not run is an answer here, not an error to print.
    options.log_severity_level = 4
    return options
