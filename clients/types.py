"""What goes into the client and what comes out of it; no wire type among them."""

from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
from numpy.typing import NDArray

ImageSource = bytes | Path | NDArray[np.uint8]
"""A JPEG, PNG, WebP or BMP file as bytes or by its path, or decoded uint8 pixels: RGB
(height, width, 3), grey (height, width) or (height, width, 1)."""


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class: its index from 0, its label, its probability (0 to 1)."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Timing:
    """Where an image's time on the server went, in milliseconds, and how many ran in its batch."""

    admission_ms: float
    decode_ms: float
    queue_ms: float
    infer_ms: float
    total_ms: float
    batch_images: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one image: classes by falling probability, and the model that gave them.

    `probabilities` holds every class's probability in label order when they were asked for,
    else nothing. `digest` is that of the model's bundle.
    """

    classes: tuple[ClassScore, ...]
    probabilities: tuple[float, ...]
    timing: Timing
    model: str
    version: str
    digest: str


@dataclass(frozen=True, slots=True)
class ImageFailure:
    """Why one image of many has no answer."""

    code: grpc.StatusCode
    message: str

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


@dataclass(frozen=True, slots=True)
class VersionLabel:
    """A label and the version of a model that it stands for.

    `share` is that of the requests without a version which the version gets because of it, 0 to 1.
    """

    label: str
    version: str
    share: float


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A loaded model: height and width in pixels, top1 from 0 to 1, the transform as JSON.

    `task` is "multiclass": one class is right, the probabilities sum to 1; or "multilabel": each
    class is right or wrong by itself.
    """

    name: str
    version: str
    digest: str
    architecture: str
    labels: tuple[str, ...]
    height: int
    width: int
    transform_json: str
    runtime: str
    device: str
    precision: str
    buckets: tuple[int, ...]
    top1: float
    max_images_per_request: int
    ready: bool
    task: str
    version_labels: tuple[VersionLabel, ...] = ()


@dataclass(frozen=True, slots=True)
class VersionState:
    """A version of a model that the server knows, loaded or not.

    `state` is READY, LOADING, UNLOADING or UNAVAILABLE; `reason` says why it is not ready, or
    which labels a version has that is.
    """

    name: str
    version: str
    state: str
    reason: str
