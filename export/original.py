"""What a bundle is made from: the evaluated model, before any conversion."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from export.contract.golden import Predict
from export.contract.manifest import Normalization
from export.contract.transform import Transform
from export.formats import FileFormat

IMAGES_AT_ONCE = 64


@dataclass(frozen=True)
class Original:
    """A model as it was evaluated; every file of its bundle must answer as it does."""

    architecture: str
    sha256: str
    labels: list[str]
    transform: Transform
    normalization: Normalization
    predict: Predict
    write: Callable[[FileFormat, Path], None]
