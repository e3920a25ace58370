"""State dicts as `torch.save` writes them, read without PyTorch.

There are two forms (torch/serialization.py, `_save` and `_legacy_save`). Since PyTorch 1.6 a file
is a zip archive: a pickle names the tensors, every storage is a member of its own. Before that,
pickles came first, then the bytes of every storage.

A pickle can run any code. From this one come only names, numbers and tuples of them, and whatever
else it asks for is refused by its name. Arrays are made afterwards, once all of it is known.
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.errors import CheckpointError

# Of the files that hold them, by their names.
SUFFIXES = (".pth", ".pt", ".bin")
ZIP = b"PK\x03\x04"
MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}
REMEDY = (
    "where PyTorch is, save the weights alone, as float32: "
    "torch.save(model.state_dict(), 'weights.pth')"
)
# Whatever a damaged pickle or archive makes Python raise.
DAMAGE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    NotImplementedError,
    TypeError,
    ValueError,
)

Weights = dict[str, NDArray[Any]]


class Storage(NamedTuple):
    """Values in a row, as the pickle describes them."""

    kind: str
    key: str
    values: int


class Tensor(NamedTuple):
    """A view of a storage, as the pickle describes it; offset and strides are counted in values."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def read(path: Path) -> Weights:
    """Return the tensors of a state dict by name.

    Raises:
        CheckpointError: it is damaged, or holds something else than tensors by name.
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(len(ZIP)) == ZIP
            file.seek(0)
            return _zipped(file) if zipped else _legacy(file)
    except DAMAGE as error:
        raise CheckpointError(
            f"{path} holds no state dict of PyTorch: {error}; {REMEDY}"
        ) from error


def _zipped(file: IO[bytes]) -> Weights:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        folder = next((n.removesuffix("data.pkl") for n in names if n.endswith("/data.pkl")), None)
        if folder is None:
            raise ValueError("it is an archive without data.pkl")
        if f"{folder}byteorder" in names:
            _check_order(little=_member(archive, f"{folder}byteorder") == b"little")
        tensors = _tensors(_Reader(io.BytesIO(_member(archive, f"{folder}data.pkl"))).load())
        storages = {
            storage: _values(storage, _member(archive, f"{folder}data/{storage.key}"))
            for storage in {tensor.storage for tensor in tensors.values()}
        }
    return {name: _array(tensor, storages[tensor.storage]) for name, tensor in tensors.items()}


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Read what PyTorch never compresses: it could expand to a thousand times its size."""
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    return archive.read(name)


def _legacy(file: IO[bytes]) -> Weights:
    if (_Reader(file).load(), _Reader(file).load()) != (MAGIC, PROTOCOL):
        raise ValueError("it does not begin as a file of PyTorch")
    _check_order(little=_Reader(file).load()["little_endian"])
    tensors = _tensors(_Reader(file).load())
    declared = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    keys = _Reader(file).load()
    if sorted(keys) != sorted(declared):
        raise ValueError("its storages are not those that its tensors name")
    rest, storages = io.BytesIO(file.read()), {}
    for key in keys:
        values = int.from_bytes(rest.read(8), "little")
        size = values * _dtype(declared[key]).itemsize
        storages[declared[key]] = _values(declared[key], rest.read(size))
    return {name: _array(tensor, storages[tensor.storage]) for name, tensor in tensors.items()}


def _check_order(*, little: bool) -> None:
    if not little:
        raise ValueError("its numbers are big-endian")


def _tensors(found: object) -> dict[str, Tensor]:
    if not isinstance(found, dict) or not found:
        raise ValueError(f"it is {type(found).__name__}, not tensors by name")
    others = [str(name) for name, value in found.items() if not isinstance(value, Tensor)]
    if others:
        raise ValueError(f"it has {', '.join(others)}, which are no tensors")
    return {str(name): tensor for name, tensor in found.items()}


def _dtype(storage: Storage) -> np.dtype[Any]:
    return np.dtype(STORAGES[storage.kind])


def _values(storage: Storage, content: bytes) -> NDArray[Any]:
    found = np.frombuffer(content, _dtype(storage))
    if len(found) != storage.values:
        raise ValueError(
            f"storage {storage.key} has {len(found)} values, its tensors say {storage.values}"
        )
    return found


def _array(tensor: Tensor, values: NDArray[Any]) -> NDArray[Any]:
    size, stride = tensor.size, tensor.stride
    if len(size) != len(stride) or min((tensor.offset, *size, *stride)) < 0:
        raise ValueError(f"no tensor has size {size} and stride {stride}")
    if 0 in size:
        return np.zeros(size, values.dtype)
    last = tensor.offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    # A view that repeats values could stand for more memory than there is.
    if last >= len(values) or math.prod(size) > len(values):
        raise ValueError(f"a tensor of size {size} reaches beyond its storage")
    steps = [values.itemsize * step for step in stride]
    return np.lib.stride_tricks.as_strided(values[tensor.offset :], size, steps).copy()


class _Reader(pickle.Unpickler):
    """Builds ordered dicts, and descriptions of storages and tensors, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a global of the file."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Rebuild()
        if module == "torch" and name in STORAGES:
            return name
        raise pickle.UnpicklingError(f"{module}.{name} is none of what weights are made of")

    def persistent_load(self, pid: Any) -> Storage:
        """Return the description of a storage."""
        what, kind, key, _device, values, *view = pid
        if what != "storage" or any(view):
            raise pickle.UnpicklingError(f"{what} stands where a whole storage belongs")
        return Storage(kind, key, values)


class _Rebuild:
    """Stands for `torch._utils._rebuild_tensor_v2`. A pickle cannot set an attribute of it."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, size: Any, stride: Any, *_: object) -> Tensor:
        """Return the description of a tensor."""
        return Tensor(storage, offset, size, stride)
