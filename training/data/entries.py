"""Images in shards with their classes, as the shards state them; and the classes' names."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from training.data.files import FileDataset, FilePart
from training.errors import DatasetError

# One name per line, in the order of the labels: as in the data sets of clip-benchmark.
NAMES_FILE = "classnames.txt"


class Entry(NamedTuple):
    """An image in a shard.

    Attributes:
        name: of the file that the image was; if it had none, what is unique in the shard.
        part: where it is.
        label: the number of its class, or its name.
        class_name: the name that belongs to a number, if the shard says it.
    """

    name: str
    part: FilePart
    label: int | str
    class_name: str | None = None


def dataset_of(source: Path, entries: Sequence[Entry], root: Path) -> FileDataset:
    """Return the images in order of class and file name; `root` is the folder of their shards.

    Names of classes are those of a file classnames.txt in this folder or the one above it, else
    those that the shards state, else the numbers. Raises DatasetError if they do not fit.
    """
    names = _class_names(entries, root)
    number = {name: i for i, name in enumerate(names)}
    labels = [e.label if isinstance(e.label, int) else number.get(e.label, -1) for e in entries]
    for entry, label in zip(entries, labels, strict=True):
        if not 0 <= label < len(names):
            raise DatasetError(
                f"{_place(entry)} is of class {entry.label!r}, which is not one of the "
                f"{len(names)} classes in {NAMES_FILE}"
            )
    order = sorted(range(len(entries)), key=lambda i: (labels[i], *_file_order(entries[i])))
    return FileDataset(
        source,
        [entries[i].part for i in order],
        [_place(entries[i]) for i in order],
        [labels[i] for i in order],
        names,
    )


def _class_names(entries: Sequence[Entry], root: Path) -> list[str]:
    for folder in (root, root.parent):
        if (file := folder / NAMES_FILE).is_file():
            return file.read_text().splitlines()
    numbers = [entry.label for entry in entries if isinstance(entry.label, int)]
    if not numbers:
        return sorted({str(entry.label) for entry in entries})
    if len(numbers) < len(entries):
        name = next(entry for entry in entries if isinstance(entry.label, str))
        raise DatasetError(
            f"some classes in {root} are numbers, but that of {_place(name)} is {name.label!r}; "
            f"a file {NAMES_FILE} there, with a name per line, says which is which"
        )
    stated = {entry.label: entry.class_name for entry in entries if entry.class_name is not None}
    return [stated.get(i, str(i)) for i in range(max(numbers) + 1)]


def _file_order(entry: Entry) -> tuple[str, str, int]:
    """As in a folder, which has the images of a class in order of file name."""
    return entry.name.rpartition("/")[2], entry.part.path, entry.part.offset


def _place(entry: Entry) -> str:
    return f"{entry.part.path}, {entry.name}"
