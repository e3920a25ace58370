"""Encoded images in files: each a file of its own, or a part of a larger one."""

from dataclasses import dataclass
from pathlib import Path

from images.decoders import Pixels, decode
from training.data.dataset import naming_broken

# Of the formats that are served; .jfif is another name of JPEG.
SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp")


@dataclass(frozen=True, slots=True)
class FilePart:
    """`size` bytes of a file from `offset` on, or all of it."""

    path: str
    offset: int = 0
    size: int | None = None

    def encoded(self) -> bytes:
        """Return the bytes; raise OSError if they cannot be read, or if the file is too short."""
        with open(self.path, "rb", buffering=0) as file:  # noqa: PTH123 - a Path takes longer
            if self.size is None:
                return file.read()
            file.seek(self.offset)
            data = file.read(self.size)
        if len(data) < self.size:
            raise OSError(f"{self.path} ends within it")
        return data

    def rgb(self) -> Pixels:
        """Return the image as serving decodes it; raise OSError or ImageError."""
        return decode(self.encoded())


@dataclass(frozen=True)
class FileDataset:
    """Encoded images with their classes, each read when it is needed.

    Wherever they are stored they are in order of class, then of file name, so that the same images
    are trained in the same order.
    """

    source: Path
    parts: list[FilePart]
    names: list[str]
    labels: list[int]
    class_names: list[str]
    is_in_memory: bool = False

    @classmethod
    def of_files(
        cls, source: Path, files: list[Path], labels: list[int], class_names: list[str]
    ) -> "FileDataset":
        """Return images that have a file each."""
        names = [str(file) for file in files]
        return cls(source, [FilePart(name) for name in names], names, labels, class_names)

    def __len__(self) -> int:
        return len(self.parts)

    def name(self, index: int) -> str:
        """Return the path, with the name in it if it holds several."""
        return self.names[index]

    def label(self, index: int) -> int:
        """Return the class of an image."""
        return self.labels[index]

    def stored(self, index: int) -> FilePart:
        """Return where the image is."""
        return self.parts[index]

    def rgb(self, index: int) -> Pixels:
        """Return the image as serving decodes it; raise BrokenImageError that names it."""
        with naming_broken(self, index):
            return self.parts[index].rgb()

    def encoded(self, index: int) -> bytes:
        """Return the file's bytes."""
        return self.parts[index].encoded()
