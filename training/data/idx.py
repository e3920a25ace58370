"""The IDX format of MNIST and its successors (yann.lecun.com/exdb/mnist)."""

import gzip
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.errors import DatasetError

UINT8 = 8


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read a file of unsigned bytes, gzipped or not; raise DatasetError where it is damaged."""
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
