"""Ranges of the values between layers, seen on images, by the methods of ONNX Runtime."""

import io
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from onnxruntime.quantization import CalibrationMethod, create_calibrator, save_tensors_data

from export.formats import INPUT
from export.precision.report import Method
from images.transform import Pixels

METHODS: dict[Method, CalibrationMethod] = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
# Entropy needs more bins than levels to have a choice, and ONNX Runtime's default gives it none;
# a range symmetric about zero would waste half of the levels behind a ReLU.
OPTIONS: dict[Method, dict[str, Any]] = {
    "minmax": {},
    "entropy": {"num_bins": 512, "num_quantized_bins": 128},
    "percentile": {"num_bins": 2048, "percentile": 99.99, "symmetric": False},
}


def calibrate(
    model: Path,
    method: Method,
    operators: list[str],
    batches: Iterable[Pixels],
    ranges: Path,
    *,
    external: bool,
) -> None:
    """Write the range of every value that those operators take or give to the file `ranges`.

    Args:
        model: the preprocessed float32 file.
        method: how outliers are treated.
        operators: kinds of nodes that will be quantised.
        batches: uint8 (n, height, width, 3), all of the same size.
        ranges: the file to write, JSON.
        external: whether the model has external data.
    """
    # ONNX Runtime's collectors print their progress.
    with redirect_stdout(io.StringIO()):
        calibrator = create_calibrator(
            model,
            operators,
            augmented_model_path=str(ranges.with_suffix(".onnx")),
            calibrate_method=METHODS[method],
            use_external_data_format=external,
            extra_options=OPTIONS[method],
        )
        for pixels in batches:
            # One batch at a time: a collector holds every value between layers of what it is given.
            calibrator.collect_data(_Once(pixels))
        save_tensors_data(calibrator.compute_data(), ranges)


class _Once:
    """One batch as a data reader."""

    def __init__(self, pixels: Pixels) -> None:
        self._feeds = iter([{INPUT: pixels}])

    def get_next(self) -> dict[str, Pixels] | None:
        """Return the batch, then None."""
        return next(self._feeds, None)
