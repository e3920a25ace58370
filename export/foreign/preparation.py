"""How a foreign model wants its images: the transform and the normalisation."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from bundle.manifest import Normalization
from export.errors import ExportError
from images.transform import ShorterSide, Size, Transform


class Preparation(BaseModel):
    """Encoded image -> pixels -> what the network was trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    transform: Transform
    normalization: Normalization


# As torchvision and timm evaluate most of their models; in pixel units.
IMAGENET = Preparation(
    transform=Transform(resize=ShorterSide(pixels=256), crop=Size(height=224, width=224)),
    normalization=Normalization(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
)


def read_preparation(name: str) -> Preparation:
    """Return the preparation of that name, or of a JSON file; raise `ExportError`."""
    if name == "imagenet":
        return IMAGENET
    try:
        return Preparation.model_validate_json(Path(name).read_bytes())
    except OSError as error:
        raise ExportError(
            f"--transform {name} is neither `imagenet` nor a readable file: {error}"
        ) from error
    except ValidationError as error:
        raise ExportError(f"--transform {name}: {error}") from error
