"""Image files, each of which is one image."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from clients.reading import FileTooLargeError, read_file, reason
from deploy.batch.item import Content, Item, Trouble
from images.limits import ImageLimits


class Files:
    """The images of `paths`, which is iterated over at most once."""

    def __init__(self, paths: Iterator[str], limits: ImageLimits) -> None:
        self._paths, self._limits = paths, limits

    def groups(self) -> Iterator[Sequence[Item]]:
        """Yield a group for each file."""
        for path in self._paths:
            yield [Item(path)]

    def read(self, items: Sequence[Item]) -> Iterator[Content]:
        """Yield what each file holds."""
        for item in items:
            yield Trouble("UNREADABLE", item.broken) if item.broken else self._read(item.path)

    def _read(self, path: str) -> Content:
        limit = self._limits.max_image_bytes
        try:
            return read_file(Path(path), limit)
        except FileTooLargeError:
            return Trouble("INVALID", f"the file is larger; max_image_bytes allows at most {limit}")
        except OSError as error:
            return Trouble("UNREADABLE", f"the file cannot be read: {reason(error)}")
        except ValueError as error:  # a NUL in a name that a Parquet file has
            return Trouble("UNREADABLE", f"the file cannot be read: {error}")
