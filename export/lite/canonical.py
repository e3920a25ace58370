"""A file of MindSpore Lite, in an order that says nothing of its converter's memory."""

import mmap
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from export.errors import ExportError

# `ModelProto.primitives` of mindspore/core/proto/mind_ir.proto. Nodes refer to them by name: their
# order has no meaning. The converter writes them by their addresses, which depend on the number of
# processors, on the length of names, on whether Python had to compile a module.
PRIMITIVES = 12
# Bytes of a value by its wire type, see https://protobuf.dev/programming-guides/encoding/.
FIXED = {1: 8, 5: 4}
VARINT, LENGTH = 0, 2


class Field(NamedTuple):
    """A field of a protobuf message: its number, and where its bytes are, tag included."""

    number: int
    start: int
    end: int


def sort_primitives(path: Path) -> None:
    """Sort a file's primitives in place; raise `ExportError` where it is no protobuf message."""
    path.chmod(0o644)  # the converter lets nobody write
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        try:
            fields = list(_fields(data))
        except (IndexError, KeyError) as error:
            raise ExportError(f"MindSpore Lite wrote no MINDIR to {path.name}") from error
        for number, neighbours in groupby(fields, lambda field: field.number):
            if number == PRIMITIVES:
                _sort(data, list(neighbours))


def _sort(data: mmap.mmap, neighbours: list[Field]) -> None:
    ordered = sorted(data[field.start : field.end] for field in neighbours)
    data[neighbours[0].start : neighbours[-1].end] = b"".join(ordered)


def _fields(data: mmap.mmap) -> Iterator[Field]:
    at = 0
    while at < len(data):
        tag, value = _varint(data, at)
        end = _end(data, tag & 7, value)
        if end > len(data):
            raise IndexError
        yield Field(tag >> 3, at, end)
        at = end


def _end(data: mmap.mmap, wire_type: int, at: int) -> int:
    """Return where the value that begins at `at` ends."""
    if wire_type in FIXED:
        return at + FIXED[wire_type]
    number, end = _varint(data, at)
    return {VARINT: end, LENGTH: end + number}[wire_type]


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    """Return a number and where the next field begins."""
    number = shift = 0
    while data[at] & 0x80:
        number |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return number | data[at] << shift, at + 1
