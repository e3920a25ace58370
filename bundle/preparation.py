"""What is done to a model's images: encoded image -> pixels -> what the network takes."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from bundle.files import parse
from bundle.manifest import IMAGENET, Normalization
from bundle.store import first_mistake
from images.transform import ShorterSide, Size, Transform


class Preparation(BaseModel):
    """A transform and a normalisation, as a manifest states them."""

    model_config = ConfigDict(frozen=True, extra="ignore")  # a manifest states more

    transform: Transform
    normalization: Normalization


# As torchvision and timm evaluate most of their models.
IMAGENET_PREPARATION = Preparation(
    transform=Transform(resize=ShorterSide(pixels=256), crop=Size(height=224, width=224)),
    normalization=IMAGENET,
)


def read_preparation(name: str) -> Preparation:
    """Return what the flag --transform names: `imagenet`, or a JSON file with both fields.

    Raises ValueError that says what is wrong with it.
    """
    if name == "imagenet":
        return IMAGENET_PREPARATION
    try:
        return parse(Preparation, Path(name).read_bytes())
    except OSError as error:
        raise ValueError(
            f"--transform {name} is neither `imagenet` nor a readable file: {error.strerror}"
        ) from error
    except ValueError as error:
        raise ValueError(f"--transform {name}: {first_mistake(error)}") from error
