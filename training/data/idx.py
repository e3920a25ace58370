"""Labelled images in MNIST's IDX files, such as Fashion-MNIST."""

import gzip
import io
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from images.decoders import Pixels
from training.data.dataset import Split
from training.errors import DatasetError

FASHION_MNIST_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
IDX_PREFIX = {"train": "train", "test": "t10k"}
UINT8 = 8  # the element type in a header of an IDX file


@dataclass(frozen=True, slots=True)
class GreyImage:
    """Pixels of one channel, uint8 (height, width)."""

    pixels: Pixels

    def rgb(self) -> Pixels:
        """Return them in three equal channels, uint8 (height, width, 3)."""
        return np.repeat(self.pixels[:, :, None], 3, axis=2)

    def encoded(self) -> bytes:
        """Return them as a grey PNG."""
        file = io.BytesIO()
        Image.fromarray(self.pixels).save(file, "PNG")
        return file.getvalue()


@dataclass(frozen=True)
class IdxDataset:
    """Grey images held in memory: uint8 (N, height, width) and (N,)."""

    source: Path
    images: Pixels
    labels: Pixels
    class_names: list[str]
    is_in_memory: bool = True

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        """Return the file and the position in it, from 0."""
        return f"{self.source}, image {index}"

    def label(self, index: int) -> int:
        """Return the class of an image."""
        return int(self.labels[index])

    def stored(self, index: int) -> GreyImage:
        """Return the image, which shares the memory."""
        return GreyImage(self.images[index])

    def rgb(self, index: int) -> Pixels:
        """Return the grey image in three equal channels, uint8 (height, width, 3)."""
        return self.stored(index).rgb()

    def encoded(self, index: int) -> bytes:
        """Return the image as a grey PNG."""
        return self.stored(index).encoded()


def read_idx(path: Path) -> Pixels:
    """Read a file in MNIST's IDX format (yann.lecun.com/exdb/mnist), gzipped or not, of any shape.

    Raises DatasetError if it is damaged, or holds anything but unsigned bytes.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        zero, kind, dimensions = struct.unpack_from(">HBB", data)
        shape = struct.unpack_from(f">{dimensions}I", data, 4)
    except (gzip.BadGzipFile, EOFError, struct.error) as error:
        raise DatasetError(f"{path} is damaged: {error}") from error
    start = 4 + 4 * dimensions
    if zero or kind != UINT8 or len(data) - start != np.prod(shape, dtype=int):
        raise DatasetError(f"{path} is not a complete IDX file of unsigned bytes")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def open_idx(data_dir: Path, split: Split) -> IdxDataset | None:
    """Open the IDX files of a split; None if there are none; raise DatasetError if damaged."""
    images = _idx_file(data_dir, f"{IDX_PREFIX[split]}-images-idx3-ubyte")
    if images is None:
        return None
    labels = _idx_file(data_dir, f"{IDX_PREFIX[split]}-labels-idx1-ubyte")
    if labels is None:
        raise DatasetError(
            f"{images} has no file of labels beside it, {IDX_PREFIX[split]}-labels-idx1-ubyte[.gz]"
        )
    pixels, classes = read_idx(images), read_idx(labels)
    if pixels.ndim != 3 or classes.shape != pixels.shape[:1]:
        raise DatasetError(f"{images} {pixels.shape} and {labels} {classes.shape} do not match")
    names = _idx_class_names(data_dir, int(classes.max()) + 1)
    return IdxDataset(images.resolve(), pixels, classes, names)


def _idx_class_names(data_dir: Path, count: int) -> list[str]:
    """IDX files carry no names: known for Fashion-MNIST (by its folder), else numbers."""
    if "fashion" in data_dir.resolve().name.lower():
        return list(FASHION_MNIST_CLASSES)
    return [str(index) for index in range(count)]


def _idx_file(data_dir: Path, name: str) -> Path | None:
    candidates = (data_dir / name, data_dir / f"{name}.gz")
    return next((path for path in candidates if path.is_file()), None)
