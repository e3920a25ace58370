"""PyTorch's interpreter, and files as PyTorch writes them, made without it."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.paths import ROOT

PYTHON = ROOT / ".venv-torch/bin/python"
TYPES = {"<f4": "FloatStorage", "<i8": "LongStorage"}
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def torch_python() -> str:
    """Return the interpreter that has PyTorch; skip the test if there is none."""
    if not PYTHON.exists():
        pytest.skip("there is no PyTorch: make .venv-torch/.torch")
    return str(PYTHON)


def tensor(
    key: str, values: int, offset: int, size: tuple[int, ...], stride: tuple[int, ...],
    kind: str = "FloatStorage",
) -> str:  # fmt: skip
    """Return the opcodes (of protocol 0) of a tensor in a storage of so many values."""
    storage = f"(Vstorage\nctorch\n{kind}\nV{key}\nVcpu\nI{values}\ntQ"
    return f"ctorch._utils\n_rebuild_tensor_v2\n({storage}I{offset}\n{_ints(size)}{_ints(stride)}tR"


def _ints(values: tuple[int, ...]) -> str:
    return "(" + "".join(f"I{value}\n" for value in values) + "t"


def by_name(**values: str) -> bytes:
    """Return the pickle of an OrderedDict, as a state dict is one."""
    items = "".join(f"V{name}\n{opcodes}s" for name, opcodes in values.items())
    return f"ccollections\nOrderedDict\n(tR{items}.".encode()


def write_zip(
    path: Path, pickled: bytes, storages: dict[str, bytes], compression: int = zipfile.ZIP_STORED
) -> Path:
    """Write the form of PyTorch 1.6 and later."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("weights/data.pkl", pickled)
        archive.writestr("weights/byteorder", "little")
        for key, content in storages.items():
            archive.writestr(f"weights/data/{key}", content)
    return path


def write_state_dict(path: Path, weights: dict[str, NDArray[Any]]) -> Path:
    """Write arrays of float32 or int64 by name, each with a storage of its own."""
    opcodes, storages = {}, {}
    for key, (name, value) in enumerate(weights.items()):
        steps = np.zeros(value.shape, np.int8).strides
        kind = TYPES[value.dtype.str]
        opcodes[name] = tensor(str(key), value.size, 0, value.shape, steps, kind)
        storages[str(key)] = value.tobytes()
    return write_zip(path, by_name(**opcodes), storages)
