"""`<file-name>.parity.json`: what the files of `--graph bare` take and give, and their proof."""

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from bundle.manifest import Format, Frozen, Normalization, Sha256, Tensor
from images.transform import Transform


class BareFile(Frozen):
    """A file of the network alone, and how close its logits came to the checkpoint's."""

    path: str = Field(description="beside the record")
    format: Format
    sha256: Sha256
    runtime: str
    largest_difference: NonNegativeFloat = Field(description="of a logit, over all images")
    tolerance: NonNegativeFloat = Field(description="largest allowed difference of a logit")
    top1_agreement: NonNegativeInt = Field(description="images with the checkpoint's first class")


class BareParity(Frozen):
    """The record; `from-onnx --transform` takes the transform and the normalisation from it."""

    architecture: str
    checkpoint_sha256: Sha256
    labels: list[str] = Field(description="class labels in index order")
    transform: Transform = Field(description="encoded image -> pixels, as it was evaluated")
    normalization: Normalization = Field(description="pixels -> what the network takes")
    input: Tensor
    output: Tensor
    dataset: str = Field(description="what was compared on")
    images: PositiveInt
    files: list[BareFile]
