"""What `parity.json` tells of an int8 file besides its differences and scores."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt

Method = Literal["minmax", "entropy", "percentile"]


class Quantization(BaseModel):
    """How a file was quantised, on which training images, and what it cost."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Method = Field(description="of calibration; the best of `held_out_correct`")
    calibration_images: PositiveInt = Field(description="training images that set the ranges")
    held_out_images: PositiveInt = Field(description="other training images that chose")
    held_out_correct: dict[Method, NonNegativeInt] = Field(
        description="held-out images whose first class is right, all layers in int8, per method"
    )
    held_out_fp32_correct: NonNegativeInt = Field(description="likewise, of the fp32 file")
    layers: PositiveInt = Field(description="layers that could be quantised")
    kept_in_float: list[str] = Field(description="those that were not, most sensitive first")
    accuracy_drop: float = Field(description="loss of top-1 on the evaluation set, in points")
    max_accuracy_drop: NonNegativeFloat = Field(description="largest loss allowed, in points")
