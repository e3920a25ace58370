"""A bundle of `benchmarks.models` without its weights, which come from a counter and not a file."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from benchmarks.models import Network
from benchmarks.weights import Parameter, network
from bundle.store import SEAL, Bundle, contents
from cli.program import UsageError
from export.formats.kernels import merged

HOLES = "holes.json"
SUFFIX = ".skeleton"
# Shorter tensors are not worth a hole.
LEAST_BYTES = 128
LOOK_FOR_BYTES = 64
Parameters = Mapping[str, Parameter]


class Hole(BaseModel):
    """Where a file had the values of a parameter, and in which form."""

    start: int
    parameter: str
    groups_merged: int
    dtype: Literal["float32", "float16"]

    def values(self, parameters: Parameters) -> NDArray[np.floating]:
        """Return what belongs there."""
        values = parameters[self.parameter].values()
        if self.groups_merged > 1:
            values = merged(values, self.groups_merged)
        return values.astype(self.dtype)


class Holes(BaseModel):
    """All holes of a bundle's files, by path, in the order of their places."""

    network: Network
    files: dict[str, list[Hole]]


def cut(bundle: Bundle, folder: Path) -> None:
    """Write the skeleton of a bundle into a folder.

    Raises:
        UsageError: its weights do not come from a counter.
    """
    name = _network(bundle)
    parameters = network(name).parameters()
    models = {file.path for file in bundle.manifest.files if file.format == "onnx"}
    found = {path: list(_holes(bundle.path / path, parameters)) for path in sorted(models)}
    holes = {path: some for path, some in found.items() if some}
    if not holes:
        raise UsageError(
            f"{bundle.path}: its weights come from elsewhere; name a bundle that "
            f"`python -m benchmarks.models` wrote"
        )
    for rest in (SEAL, *contents(bundle.path)):
        if rest not in holes:
            _copy(bundle.path / rest, folder / rest)
    for path, some in holes.items():
        _cut(bundle.path / path, folder / f"{path}{SUFFIX}", some, parameters)
    (folder / HOLES).write_text(Holes(network=name, files=holes).model_dump_json())


def restore(folder: Path, target: Path) -> Bundle:
    """Write the bundle of the skeleton in `folder` to `target`, byte for byte as it was.

    Raises:
        BundleError: it is not as it was.
    """
    found = Holes.model_validate_json((folder / HOLES).read_bytes())
    parameters = network(found.network).parameters()
    for path in folder.rglob("*"):
        if path.is_file() and path.name != HOLES and path.suffix != SUFFIX:
            _copy(path, target / path.relative_to(folder))
    for name, holes in found.files.items():
        _fill(folder / f"{name}{SUFFIX}", target / name, holes, parameters)
    return Bundle.open(target)


def _network(bundle: Bundle) -> Network:
    stated = bundle.manifest.architecture
    for name in get_args(Network):
        if name == stated:
            return cast("Network", name)
    raise UsageError(f"{bundle.path} holds {stated}, which is no network of benchmarks.models")


def _holes(path: Path, parameters: Parameters) -> Iterator[Hole]:
    """Yield what of an ONNX file a counter gives, in the order in which it lies there."""
    import onnx  # here, because to restore a bundle takes none

    from export.foreign.names import PREFIX

    data, at = path.read_bytes(), 0
    for tensor in onnx.load_from_string(data).graph.initializer:
        name = tensor.name.removeprefix(PREFIX)
        if name not in parameters or len(tensor.raw_data) < LEAST_BYTES:
            continue
        shape = parameters[name].shape
        hole = Hole(
            start=data.find(tensor.raw_data[:LOOK_FOR_BYTES], at),
            parameter=name,
            groups_merged=tensor.dims[1] // shape[1] if len(shape) > 1 else 1,
            dtype="float16" if tensor.data_type == onnx.TensorProto.FLOAT16 else "float32",
        )
        at = hole.start + len(tensor.raw_data)
        if hole.start >= 0 and hole.values(parameters).tobytes() == data[hole.start : at]:
            yield hole


def _cut(source: Path, target: Path, holes: list[Hole], parameters: Parameters) -> None:
    data, at = source.read_bytes(), 0
    with target.open("wb") as file:
        for hole in holes:
            file.write(data[at : hole.start])
            at = hole.start + hole.values(parameters).nbytes
        file.write(data[at:])


def _fill(source: Path, target: Path, holes: list[Hole], parameters: Parameters) -> None:
    with source.open("rb") as rest, target.open("wb") as file:
        for hole in holes:
            file.write(rest.read(hole.start - file.tell()))
            file.write(hole.values(parameters).tobytes())
        shutil.copyfileobj(rest, file)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
