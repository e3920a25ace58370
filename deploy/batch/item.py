"""An image of a data set: where it is, and what was found there."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, Protocol

Status = Literal["OK", "INVALID", "UNREADABLE", "FAILED"]
"""OK; not an image, or too large; cannot be read where it is; the engine failed with it."""


class Item(NamedTuple):
    """Where an image is.

    Attributes:
        path: the file; bytes that are no UTF-8 are surrogates, as in `os.fsdecode`.
        key: which image of that file, or what a Parquet source calls it; None for a whole file.
        offset: in a tar its first byte, in a Parquet file its row; 0 for a whole file.
        nbytes: in a tar its size; 0 elsewhere.
        broken: why it cannot be read, if that is known beforehand.
    """

    path: str
    key: str | None = None
    offset: int = 0
    nbytes: int = 0
    broken: str | None = None


class Trouble(NamedTuple):
    """Why an image has no answer, in words."""

    status: Status
    reason: str


Content = bytes | Trouble
"""The bytes of an image file, or why there are none."""


class Source(Protocol):
    """One kind of data set; any thread may call."""

    def groups(self) -> Iterator[Sequence[Item]]:
        """Yield all images in an order that is always the same; what a group has is read at once.

        Raises `DatasetError` if that cannot be found out.
        """

    def read(self, items: Sequence[Item]) -> Iterator[Content]:
        """Yield what each of these items holds; they are consecutive, in the order of `groups`."""
