"""Labelled images on disk, without any framework: IDX files, or one folder per class."""

import gzip
import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from PIL import Image

from images.decoders import ImageError, Pixels, decode
from training.errors import BrokenImageError, DatasetError

Split = Literal["train", "test"]

FASHION_MNIST_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
IDX_PREFIX = {"train": "train", "test": "t10k"}
FOLDER_NAMES = {"train": ("train",), "test": ("val", "test")}
UINT8 = 8  # the element type in a header of an IDX file
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


class Dataset(Protocol):
    """Labelled images in a fixed order."""

    @property
    def source(self) -> Path:
        """File or folder that holds the images, resolved: equal if the images are the same."""

    @property
    def class_names(self) -> list[str]:
        """Names in the order of the labels."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """Return a name for messages: the image's file, or its position in one."""

    def label(self, index: int) -> int:
        """Return the class of an image, an index into class_names."""

    def rgb(self, index: int) -> Pixels:
        """Return the decoded image, uint8 (height, width, 3)."""

    def encoded(self, index: int) -> bytes:
        """Return the image as file bytes (PNG if the dataset holds bare pixels)."""


def open_dataset(data_dir: Path, split: Split) -> Dataset:
    """Open IDX files, else folders of images; raise DatasetError naming what was looked for."""
    if not data_dir.is_dir():
        raise DatasetError(f"no folder {data_dir}. {_hint(split)}")
    images = _idx_file(data_dir, f"{IDX_PREFIX[split]}-images-idx3-ubyte")
    if images is not None:
        return _open_idx(data_dir, images, split)
    for name in FOLDER_NAMES[split]:
        if (data_dir / name).is_dir():
            return _open_folders(data_dir / name, split)
    return _open_folders(data_dir, split)


def beside(data_dir: Path) -> Path:
    """Return the folder val/ beside a folder train/, ImageNet's layout; else the folder itself."""
    val = data_dir.parent / "val"
    return val if data_dir.name == "train" and val.is_dir() else data_dir


@dataclass(frozen=True)
class IdxDataset:
    """Grey images held in memory: uint8 (N, height, width) and (N,)."""

    source: Path
    images: Pixels
    labels: Pixels
    class_names: list[str]

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        """Return the file and the position in it, from 0."""
        return f"{self.source}, image {index}"

    def label(self, index: int) -> int:
        """Return the class of an image."""
        return int(self.labels[index])

    def rgb(self, index: int) -> Pixels:
        """Return the grey image in three equal channels, uint8 (height, width, 3)."""
        return np.repeat(self.images[index][:, :, None], 3, axis=2)

    def encoded(self, index: int) -> bytes:
        """Return the image as a grey PNG."""
        file = io.BytesIO()
        Image.fromarray(self.images[index]).save(file, "PNG")
        return file.getvalue()


@dataclass(frozen=True)
class FolderDataset:
    """Image files with their classes, each read when it is needed."""

    source: Path
    files: list[Path]
    labels: list[int]
    class_names: list[str]

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        """Return the path."""
        return str(self.files[index])

    def label(self, index: int) -> int:
        """Return the class of an image."""
        return self.labels[index]

    def rgb(self, index: int) -> Pixels:
        """Return the image as serving decodes it; raise BrokenImageError that names the file."""
        with naming_broken(self, index):
            return decode(self.encoded(index))

    def encoded(self, index: int) -> bytes:
        """Return the file's bytes."""
        return self.files[index].read_bytes()


@contextmanager
def naming_broken(dataset: Dataset, index: int) -> Iterator[None]:
    """Turn an error with an image into a BrokenImageError that names it."""
    try:
        yield
    except (OSError, ImageError) as error:
        raise BrokenImageError(f"{dataset.name(index)} is not a readable image: {error}") from error


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


def _open_idx(data_dir: Path, images: Path, split: Split) -> IdxDataset:
    labels = _idx_file(data_dir, f"{IDX_PREFIX[split]}-labels-idx1-ubyte")
    if labels is None:
        raise DatasetError(f"{images} has no labels file beside it. {_hint(split)}")
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


def _open_folders(root: Path, split: Split) -> FolderDataset:
    classes = sorted(path for path in root.iterdir() if path.is_dir())
    found = [(file, i) for i, folder in enumerate(classes) for file in _images(folder)]
    if not found:
        raise DatasetError(f"no images in {root}. {_hint(split)}")
    return FolderDataset(
        root.resolve(),
        [file for file, _ in found],
        [i for _, i in found],
        [folder.name for folder in classes],
    )


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def _hint(split: Split) -> str:
    return (
        f"Looked for {IDX_PREFIX[split]}-images-idx3-ubyte[.gz] (Fashion-MNIST is the Debian "
        "package dataset-fashion-mnist) and for one folder of images per class"
    )
