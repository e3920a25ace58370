"""Images in MindRecord files, MindSpore's own format, found by the index beside each of them.

A row has its blobs (here the image) in one page of the file and its scalars in another; scalars
that are indexed, by default all of them, are in the index too, a SQLite file. The layout is that of
MindSpore's minddata/mindrecord (shard_header.cc, shard_index_generator.cc, shard_column.cc); its
FileReader reads rows in their order only.
"""

import json
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

from training.data.entries import Entry
from training.data.files import FilePart
from training.errors import DatasetError

# As MindSpore's converter ImageNetToMR names the fields, and its guides do.
IMAGE_FIELDS = ("image", "data")
LABEL, FILE_NAME = "label", "file_name"
LENGTH_BYTES = 8
LONGEST_HEADER = 2**30  # bytes; what begins with more is another format


def index_of(path: Path) -> Path:
    """Return where the index of a file is."""
    return path.with_name(f"{path.name}.db")


def read_mindrecord(path: Path) -> list[Entry]:
    """Return the images of a file; they themselves are not read.

    Raises DatasetError if the file or its index is damaged, or has no images or no labels.
    """
    try:
        with path.open("rb") as file:
            header = _header(file)
            schema, blobs = header["schema"][0]["schema"], header["schema"][0]["blob_fields"]
            image = _image_field(path, schema, blobs)
            return [
                Entry(name, _part(path, file, blobs.index(image), len(blobs), place), label)
                for label, name, place in _rows(path, header)
            ]
    except DatasetError:
        raise
    except (OSError, ValueError, LookupError, TypeError, sqlite3.Error, struct.error) as error:
        raise DatasetError(
            f"{path} is damaged, or no MindRecord file, or {index_of(path).name} is not its index: "
            f"{error!r}"
        ) from error


def _header(file: BinaryIO) -> dict[str, Any]:
    """Read the length of the header, then the header, JSON."""
    [length] = struct.unpack("<Q", file.read(LENGTH_BYTES))
    if length > LONGEST_HEADER:
        raise ValueError(f"its header would have {length} bytes")
    header: dict[str, Any] = json.loads(file.read(length))
    return header


def _image_field(path: Path, schema: dict[str, dict[str, Any]], blobs: list[str]) -> str:
    encoded = [name for name in blobs if schema[name]["type"] == "bytes"]
    named = [name for name in IMAGE_FIELDS if name in encoded]
    if not named and len(encoded) != 1:
        raise DatasetError(
            f"{path} has no field {' or '.join(IMAGE_FIELDS)} of type bytes, with an image file in "
            f"each row; its fields are {', '.join(schema)}"
        )
    return (named or encoded)[0]


def _rows(path: Path, header: dict[str, Any]) -> Iterator[tuple[int | str, str, tuple[int, int]]]:
    """Yield each row's label, name, and where its blobs begin and end in the file."""
    with closing(sqlite3.connect(f"{index_of(path).absolute().as_uri()}?mode=ro", uri=True)) as db:
        columns = {row[1] for row in db.execute("PRAGMA table_info(INDEXES)")}
        if f"{LABEL}_0" not in columns:
            raise DatasetError(
                f"{path} has no index of a field {LABEL}: write it with FileWriter.add_index, or "
                f"without any, which indexes all fields"
            )
        name = f"{FILE_NAME}_0" if f"{FILE_NAME}_0" in columns else "'row ' || ROW_ID"
        rows = db.execute(
            f"SELECT {LABEL}_0, {name}, PAGE_ID_BLOB, PAGE_OFFSET_BLOB, PAGE_OFFSET_BLOB_END "  # noqa: S608 - our own names
            "FROM INDEXES ORDER BY ROW_ID"
        )
        for label, file_name, page, first, end in rows:
            start = header["header_size"] + page * header["page_size"]
            yield label, file_name, (start + first, start + end)


def _part(path: Path, file: BinaryIO, number: int, count: int, place: tuple[int, int]) -> FilePart:
    """Return where a blob is, of `count` in its row; each begins with its length if several do.

    The row begins with the length of all, little-endian; those of the blobs are big-endian.
    """
    at, end = place[0] + LENGTH_BYTES, place[1]
    if count == 1:
        return FilePart(str(path), at, end - at)
    size = 0
    for _ in range(number + 1):
        at += size
        file.seek(at)
        [size] = struct.unpack(">Q", file.read(LENGTH_BYTES))
        at += LENGTH_BYTES
    return FilePart(str(path), at, size)
