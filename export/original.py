"""What a bundle is made from: the evaluated model, before any conversion."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bundle.golden import Predict
from bundle.manifest import Normalization, Precision
from export.formats import FileFormat
from images.transform import Transform

IMAGES_AT_ONCE = 64
# Largest difference of a probability from an original of the same precision: fp16 rounds to 11
# bits, and the int8 kernels of different processors differ. Of files reduced here it is measured.
TOLERANCES: dict[Precision, float] = {"fp32": 1e-5, "fp16": 2e-3, "int8": 2e-2}


@dataclass(frozen=True)
class Original:
    """A model as it was evaluated; every file of its bundle must answer as it does.

    `write` writes one file in the given format and in `precision`; `fixed_batch` is the only batch
    size that it runs, None where it runs any.
    """

    architecture: str
    sha256: str
    labels: list[str]
    transform: Transform
    normalization: Normalization
    predict: Predict
    write: Callable[[FileFormat, Path], None]
    precision: Precision = "fp32"
    fixed_batch: int | None = None
