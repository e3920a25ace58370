"""Settings of augmentation; the first ones have the upstream's defaults, the others are off."""

from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)
from pydantic_settings import NoDecode

from training.settings.config import COMMAS, CommonConfig, Fraction

Shares = Annotated[
    tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]],
    NoDecode,
    COMMAS,
]
Ratios = Annotated[tuple[PositiveFloat, PositiveFloat], NoDecode, COMMAS]
Operations = Annotated[tuple[PositiveInt, Annotated[float, Field(ge=0, le=10)]], NoDecode, COMMAS]


class AugmentationConfig(CommonConfig):
    """How training images vary from epoch to epoch."""

    augmentation: Literal["random_resized_crop", "shift"] = Field(
        "random_resized_crop", description="crop of training images; both also flip"
    )
    shift: NonNegativeInt = Field(2, description="largest shift, in pixels of the network's input")
    crop_scale: Shares = Field(
        (0.08, 1.0), description="least,most of the image's area in a random resized crop"
    )
    crop_ratio: Ratios = Field(
        (3 / 4, 4 / 3), description="least,most width by height of a random resized crop"
    )
    hflip: Fraction = Field(0.5, description="probability that an image is mirrored")
    color_jitter: NonNegativeFloat = Field(
        0.4, description="brightness, contrast and saturation of a crop vary by this fraction"
    )
    randaugment: Operations | None = Field(
        None, description="operations,magnitude (0 to 10) of RandAugment, such as 2,9; unset: none"
    )
    randaugment_std: NonNegativeFloat = Field(
        0.0, description="standard deviation by which the magnitude of each operation varies"
    )
    random_erasing: Fraction = Field(
        0.0, description="probability that noise fills a rectangle of an image"
    )
    mixup: NonNegativeFloat = Field(
        0.0, description="alpha of mixup: an image's share is from Beta(alpha, alpha); 0: no mixup"
    )
    cutmix: NonNegativeFloat = Field(0.0, description="alpha of cutmix, likewise")
    mixup_prob: Fraction = Field(
        1.0, description="probability that an image is mixed, by mixup or cutmix"
    )
    mixup_switch_prob: Fraction = Field(
        0.5, description="probability of cutmix, if there is mixup as well"
    )
    mixup_off_epoch: NonNegativeInt = Field(
        0, description="epochs after which images are mixed no more; 0: mixed to the end"
    )

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with others."""
        return self.mixup > 0 or self.cutmix > 0

    @model_validator(mode="after")
    def _can_augment(self) -> Self:
        for name in ("crop_scale", "crop_ratio"):
            least, most = getattr(self, name)
            if least > most:
                raise ValueError(f"{name}={least},{most} must be the least, then the most")
        if self.mixes and self.per_batch_size % 2:
            raise ValueError(
                f"mixup and cutmix take images in pairs: per_batch_size={self.per_batch_size} must "
                "be even"
            )
        return self
