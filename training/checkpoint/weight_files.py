"""Files of named arrays: .ckpt and .safetensors for weights, .npz for the rest of a run's state."""

import os
import zipfile
from pathlib import Path
from typing import Any

import mindspore
import numpy as np
from mindspore import Tensor
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from training.errors import CheckpointError

Arrays = dict[str, NDArray[Any]]
FILE_MODE = 0o644  # mindspore writes 0400


def read(path: Path) -> Arrays:
    """Return the arrays of a file; raise CheckpointError if it is missing or cannot be read."""
    if not path.is_file():
        raise CheckpointError(f"no file {path}")
    try:
        return _read(path)
    except (ValueError, SafetensorError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} is not a checkpoint: {error}") from error


def _read(path: Path) -> Arrays:
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return dict(arrays)
    if path.suffix == ".safetensors":
        return dict(load_file(path))
    found = mindspore.load_checkpoint(str(path))
    return {name: value.asnumpy() for name, value in found.items()}


def write(arrays: Arrays, path: Path) -> None:
    """Write arrays to a file, on disk when this returns and readable by everyone; raise OSError."""
    if path.suffix == ".npz":
        # numpy's stubs take a name for the argument allow_pickle.
        np.savez(path, **arrays)  # type: ignore[arg-type]
    elif path.suffix == ".safetensors":
        path.write_bytes(save({n: np.asarray(value, order="C") for n, value in arrays.items()}))
    else:
        entries = [{"name": name, "data": Tensor(value)} for name, value in arrays.items()]
        mindspore.save_checkpoint(entries, str(path))
    path.chmod(FILE_MODE)
    with path.open("rb") as file:
        os.fsync(file.fileno())
