"""What a dataset is to training, evaluation and export: labelled images in a fixed order."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

from images.decoders import ImageError, Pixels
from training.errors import BrokenImageError

Split = Literal["train", "test"]


class StoredImage(Protocol):
    """One image as the dataset holds it; small to send to another process, which can read it."""

    def rgb(self) -> Pixels:
        """Return it decoded, uint8 (height, width, 3); raise OSError or ImageError."""

    def encoded(self) -> bytes:
        """Return it as file bytes (PNG if the dataset holds bare pixels); raise OSError."""


class Dataset(Protocol):
    """Labelled images in a fixed order."""

    @property
    def source(self) -> Path:
        """File or folder that holds the images, resolved: equal if the images are the same."""

    @property
    def class_names(self) -> list[str]:
        """Names in the order of the labels."""

    @property
    def is_in_memory(self) -> bool:
        """Whether the images are held in memory, so that no other process need read them."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Return a name for messages: the image's file, or its position in one."""

    def label(self, index: int) -> int:
        """Return the class of an image, an index into class_names."""

    def stored(self, index: int) -> StoredImage:
        """Return an image as it is stored."""

    def rgb(self, index: int) -> Pixels:
        """Return the decoded image, uint8 (height, width, 3)."""

    def encoded(self, index: int) -> bytes:
        """Return the image as file bytes (PNG if the dataset holds bare pixels)."""


@contextmanager
def naming_broken(dataset: Dataset, index: int) -> Iterator[None]:
    """Turn an error with an image into a BrokenImageError that names it."""
    try:
        yield
    except (OSError, ImageError) as error:
        raise BrokenImageError(f"{dataset.name(index)} is not a readable image: {error}") from error
