"""A foreign model as it came: the untouched file in ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bundle.manifest import Normalization
from export.config import OutputKind
from export.errors import ExportError
from export.evaluation_set import padded
from export.failures import reason
from export.foreign import outputs
from export.foreign.inputs import prepared
from export.foreign.signature import Signature
from export.original import INPUT
from images.transform import Pixels
from serving.backends.ort.library import onnxruntime


class OriginalRunner:
    """Runs the untouched file on uint8 pixels (n, height, width, 3); numpy does the rest."""

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
            raise ExportError(f"{path}: ONNX Runtime cannot load it: {reason(error)}") from error
        self._path, self._signature, self._kind = path, signature, output_kind
        self._normalization = normalization

    def answers(self, pixels: Pixels) -> NDArray[np.float64]:
        """Return the file's output as it is, float64 (n, classes); raise `ExportError`."""
        batch = self._signature.batch or len(pixels)
        parts = [self._run(pixels[i : i + batch], batch) for i in range(0, len(pixels), batch)]
        return np.concatenate(parts).astype(np.float64)

    def __call__(self, pixels: Pixels) -> NDArray[np.float32]:
        """Return float32 probabilities (n, classes)."""
        return outputs.probabilities(self.answers(pixels), self._kind).astype(np.float32)

    def gives_a_batch(self, pixels: Pixels) -> bool:
        """Return whether the output has an axis for the batch; without, only one image can run."""
        if self._signature.batch != 1:
            return True
        return bool(self._answers(pixels[:1], 1).shape[:1] == (1,))

    def _run(self, pixels: Pixels, batch: int) -> NDArray[Any]:
        answers = self._answers(pixels, batch)
        # What a model of one image gives is all of that image, whatever its axes.
        if answers.shape[:1] != (batch,) and self._signature.batch != 1:
            raise ExportError(f"{self._mismatch(batch)}: the output has shape {answers.shape}")
        if not answers.size:
            raise ExportError(
                f"output {self._signature.output} of {self._path} is empty: it has shape "
                f"{answers.shape}"
            )
        return answers.reshape(batch, -1)[: len(pixels)]

    def _answers(self, pixels: Pixels, batch: int) -> NDArray[Any]:
        images = prepared(padded(pixels, batch), self._signature, self._normalization)
        try:
            [answers] = self._session.run([self._signature.output], {self._signature.input: images})
        except Exception as error:  # ONNX Runtime's errors share no base
            raise ExportError(f"{self._mismatch(batch)}: {reason(error)}") from error
        return np.asarray(answers)

    def _mismatch(self, batch: int) -> str:
        fixed = self._signature.batch is not None
        return (
            f"{self._path} states that input {self._signature.input} takes "
            f"{f'{batch} images' if fixed else 'any batch'}, but {batch} images do not give "
            f"{batch} answers; export it again with {'another' if fixed else 'a fixed'} batch, or "
            f"so that the batch is kept throughout (reshape to -1)"
        )


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
