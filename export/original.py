"""What a bundle is made from: the evaluated model, and the files that are written from it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bundle.golden import Predict
from bundle.manifest import Format, ModelFile, Normalization, Precision, Task
from export.precision.cost import HeldOut, Quantization
from images.transform import Transform

# What --file-format calls the formats, and what a manifest does.
FileFormat = Literal["ONNX", "MINDIR", "AIR"]
FORMATS: dict[FileFormat, Format] = {"ONNX": "onnx", "MINDIR": "mindir", "AIR": "air"}
# Names of the deployment graph's tensors, in files of every format.
INPUT, OUTPUT = "images", "probabilities"
# What the network alone gives.
LOGITS = "logits"
# How names of nodes in front of the network begin that stay in float32 in any precision.
PRELUDE = "prelude/"
IMAGES_AT_ONCE = 64
# Largest difference of a probability from an original of the same precision: fp16 rounds to 11
# bits, bf16 to 8, and the int8 kernels of different processors differ. For files that are reduced
# here, it is measured instead.
TOLERANCES: dict[Precision, float] = {"fp32": 1e-5, "bf16": 1.6e-2, "fp16": 2e-3, "int8": 2e-2}


@dataclass(frozen=True)
class Original:
    """A model as it was evaluated; every file of its bundle must answer as it does.

    `write` writes one file in the given format and in `precision`; `fixed_batch` is the only batch
    size that the model runs, None if it runs any. `quantize` makes an int8 file of a float32 one
    that no accuracy has to judge; None if the export looks for the copy that loses least.
    """

    architecture: str
    sha256: str
    labels: list[str]
    transform: Transform
    normalization: Normalization
    predict: Predict
    write: Callable[[FileFormat, Path], None]
    task: Task = "multiclass"
    precision: Precision = "fp32"
    fixed_batch: int | None = None
    quantize: Callable[[Path, Path], None] | None = None


@dataclass(frozen=True)
class Converted:
    """A written file; if its precision is `reduced`, its tolerance is still to be measured.

    On `held_out` too, if there are such images.
    """

    file: ModelFile
    reduced: bool
    quantization: Quantization | None = None
    held_out: HeldOut | None = None
