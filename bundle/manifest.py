"""The manifest: everything that a server must know about a model besides its weights."""

from typing import Annotated, Literal

from pydantic import (
    Field,
    FiniteFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from bundle.kinds import LARGEST_TOLERANCE as LARGEST_TOLERANCE
from bundle.kinds import Buckets, Tolerance, stored_as
from bundle.kinds import BundlePath as BundlePath
from bundle.kinds import Format as Format
from bundle.kinds import Name as Name
from bundle.kinds import Precision as Precision
from bundle.kinds import PrecisionMode as PrecisionMode
from bundle.kinds import Sha256 as Sha256
from bundle.kinds import Task as Task
from images.transform import Frozen as Frozen
from images.transform import Transform

MANIFEST = "manifest.json"

Spread = Annotated[PositiveFloat, Field(allow_inf_nan=False)]
Triple = tuple[FiniteFloat, FiniteFloat, FiniteFloat]


class Normalization(Frozen):
    """(pixel - mean) / std per RGB channel, in pixel units (0 to 255); it runs inside the graph."""

    mean: Triple
    std: tuple[Spread, Spread, Spread]


# Of ImageNet's training images, as torchvision states them.
IMAGENET = Normalization(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))


class Tensor(Frozen):
    """A graph input or output; the first axis is the batch, which is dynamic."""

    name: str
    dtype: Literal["uint8", "float32"]
    shape: list[PositiveInt | Literal["batch"]]


class Accuracy(Frozen):
    """What the checkpoint's evaluation counted, before any conversion."""

    dataset: str = Field(description="name of the evaluation set")
    images: PositiveInt = Field(description="number of images evaluated")
    top1_correct: NonNegativeInt = Field(description="images whose first class is right")
    top5_correct: NonNegativeInt = Field(description="images whose first five hold the right class")

    @property
    def top1(self) -> float:
        """Top-1 accuracy, 0 to 1."""
        return self.top1_correct / self.images


class ExternalData(Frozen):
    """The weights of an ONNX file above 2 GB; they lie beside it."""

    path: BundlePath
    sha256: Sha256


class Conversion(Frozen):
    """How a `mindir-lite` file came out of the bundle's ONNX file."""

    device: Literal["cpu", "ascend"] = Field(description="what it runs on")
    soc: str | None = Field(description="NPU model named to the converter, if any")
    precision_mode: PrecisionMode
    converter: str = Field(description="library and version")
    source_sha256: Sha256 = Field(description="of the ONNX file")


class ModelFile(Frozen):
    """One converted network: where it is, what it is, how close it must come to the golden set."""

    path: BundlePath
    format: Format
    precision: Precision
    sha256: Sha256
    buckets: Buckets = Field(description="batch sizes to warm and run, smallest first")
    tolerance: Tolerance = Field(
        description="largest allowed difference of a probability from its golden value"
    )
    external_data: ExternalData | None = Field(
        None, description="weights of an ONNX file above 2 GB; null if they are inside"
    )
    conversion: Conversion | None = Field(None, description="of mindir-lite files, and only those")

    @property
    def title(self) -> str:
        """What to call it where the bundle's files stand side by side; no other has this title."""
        return title(self.path, self.precision)

    @property
    def stored_as(self) -> Precision:
        """The precision of its weights, which is that of its arithmetic unless that is bf16."""
        return stored_as(self.precision)

    @property
    def parts(self) -> tuple["ModelFile | ExternalData", ...]:
        """This file and, if it has one, the file of its weights."""
        return (self, self.external_data) if self.external_data else (self,)

    @property
    def digests(self) -> list[str]:
        """The sha256 of every part."""
        return [part.sha256 for part in self.parts]

    @model_validator(mode="after")
    def _tolerates_little(self) -> "ModelFile":
        if self.tolerance > (largest := LARGEST_TOLERANCE[self.precision]):
            raise ValueError(
                f"{self.path}: the tolerance is {self.tolerance:g}; {self.precision} may be at "
                f"most {largest:g} from the golden probabilities"
            )
        return self

    @model_validator(mode="after")
    def _says_how_it_was_converted(self) -> "ModelFile":
        if (self.format == "mindir-lite") != (self.conversion is not None):
            raise ValueError(
                f"{self.path}: a mindir-lite file states its conversion, and no other does"
            )
        return self

    @property
    def kind(self) -> tuple[Format, Precision, str | None]:
        """What no other file of a bundle may be, too: format, precision, device of conversion."""
        device = self.conversion.device if self.conversion else None
        return self.format, self.precision, device


class Manifest(Frozen):
    """`manifest.json`, schema version 1."""

    schema_version: Literal[1]
    name: Name
    version: Name
    architecture: str = Field(description="member of the network family")
    checkpoint_sha256: Sha256 = Field(description="digest of the weights that were converted")
    labels: list[str] = Field(min_length=1, description="class labels in index order")
    # Left out if it is the usual one: readers that know no other still read the manifest.
    task: Task = Field(
        "multiclass",
        exclude_if=lambda task: task == "multiclass",
        description="multiclass: one class is right, the probabilities sum to 1; multilabel: each "
        "class is right or wrong by itself",
    )
    transform: Transform
    normalization: Normalization
    input: Tensor
    output: Tensor
    files: list[ModelFile] = Field(min_length=1)
    attachments: list[BundlePath] = Field(
        description="every other file of the bundle: golden images, parity"
    )
    accuracy: Accuracy | None = Field(description="null if there was no evaluation set")
    revision: str | None = Field(description="source revision that exported it, if known")
    versions: dict[str, str] = Field(description="library versions that exported it")

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "Manifest":
        crop = self.transform.crop
        _same("input shape", self.input.shape, ["batch", crop.height, crop.width, 3])
        _same("output shape", self.output.shape, ["batch", len(self.labels)])
        for distinct in ([file.kind for file in self.files], [file.title for file in self.files]):
            _same("number of distinct files", len(set(distinct)), len(distinct))
        return self

    @model_validator(mode="after")
    def _bf16_is_the_fp32_file(self) -> "Manifest":
        fp32 = [_bytes(file) for file in self.files if file.precision == "fp32"]
        for file in self.files:
            if file.precision == "bf16" and (file.format != "onnx" or _bytes(file) not in fp32):
                raise ValueError(
                    f"{file.title} is no fp32 ONNX file of this bundle; a bf16 entry names one, "
                    f"with the same sha256 and external data"
                )
        return self


def title(path: str, precision: Precision) -> str:
    """Return what to call a model file: its path, unless it is computed otherwise than stored."""
    return path if precision == stored_as(precision) else f"{path} ({precision})"


def _bytes(file: ModelFile) -> tuple[Format, str, str, ExternalData | None]:
    """Return what two entries share that name the same file."""
    return file.format, file.path, file.sha256, file.external_data


def _same(what: str, stated: object, expected: object) -> None:
    if stated != expected:
        raise ValueError(f"{what} is {stated}, but transform, labels and files ask for {expected}")
