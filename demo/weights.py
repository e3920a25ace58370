"""The weights of a file that PyTorch wrote, read without PyTorch.

That is the form of before PyTorch 1.6: pickles, then the bytes of every storage. PyTorch itself
would be gigabytes, and needed for nothing else.
"""

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
STORAGES = {"FloatStorage": "<f4", "LongStorage": "<i8"}

Weights = dict[str, NDArray[Any]]


class WeightsError(Exception):
    """The file is not one of such weights."""


def read(path: Path) -> Weights:
    """Return the tensors of a state dict by name; raise `WeightsError` or `OSError`."""
    with path.open("rb") as file:
        try:
            return _read(file)
        except (pickle.UnpicklingError, EOFError, KeyError, ValueError) as error:
            raise WeightsError(f"{path} holds no weights of PyTorch 1.5: {error}") from error


def _read(file: BinaryIO) -> Weights:
    if (_Reader(file).load(), _Reader(file).load()) != (MAGIC, PROTOCOL):
        raise WeightsError(f"{file.name} does not begin as a file of PyTorch 1.5")
    _Reader(file).load()  # byte order and sizes of the machine that wrote it
    reader = _Reader(file)
    tensors = reader.load()
    for key in _Reader(file).load():
        reader.storages[key][:] = _storage(file, reader.storages[key])
    return dict(tensors)


def _storage(file: BinaryIO, wanted: NDArray[Any]) -> NDArray[Any]:
    [size] = np.frombuffer(file.read(8), "<i8")
    if size != len(wanted):
        raise ValueError(f"a storage of {size} values stands where {len(wanted)} belong")
    return np.frombuffer(file.read(wanted.nbytes), wanted.dtype)


class _Reader(pickle.Unpickler):
    """Builds tensors as views of storages that are filled afterwards, and nothing else."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.storages: Weights = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a class of the file."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in STORAGES:
            return np.dtype(STORAGES[name])
        raise pickle.UnpicklingError(f"{module}.{name} is none of what weights are made of")

    def persistent_load(self, pid: Any) -> NDArray[Any]:
        """Return a storage, empty as yet."""
        _, dtype, key, _, size, _ = pid
        return self.storages.setdefault(key, np.empty(size, dtype))


def _tensor(
    storage: NDArray[Any], offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> NDArray[Any]:
    bytes_per_step = [storage.itemsize * steps for steps in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, bytes_per_step)
