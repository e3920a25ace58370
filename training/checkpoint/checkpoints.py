"""A checkpoint is <stem>.ckpt, the weights, and <stem>.json, what they are and expect.

The weights may also be .safetensors. The .json holds their digest, so that the files of two
checkpoints cannot be mixed up. <stem>.npz, if there is one, is the rest of what resuming needs.
"""

import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import mindspore
import numpy as np
from mindspore import Parameter, Tensor, nn
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as safetensors_bytes

from bundle.manifest import Normalization, Sha256
from bundle.store import sha256
from images.transform import Transform
from training.architectures import Pooling
from training.average import AVERAGE
from training.checkpoint import torch_file
from training.errors import CheckpointError, writing
from training.metrics import Metrics
from training.resnext import build

Arrays = dict[str, NDArray[Any]]
FILE_MODE = 0o644  # mindspore writes 0400


class CheckpointInfo(BaseModel):
    """What the weights are, what they expect, and how they came about."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    schema_version: Literal[1] = Field(1, alias="schema")
    sha256: Sha256 | None = Field(
        None, description="of the weights; null in files older than this field"
    )
    architecture: str
    # Left out if it is the usual one, as in files that are older than this field.
    pooling: Pooling = Field(
        "same",
        exclude_if=lambda pooling: pooling == "same",
        description="how the stem's max-pool is padded: same, or symmetric for weights of PyTorch",
    )
    eval_mirror: bool = Field(
        default=False,
        exclude_if=lambda mirror: not mirror,
        description="evaluate the mean of an image and its mirror image",
    )
    num_classes: int
    labels: list[str]
    transform: Transform
    normalization: Normalization
    config: dict[str, Any] = Field(description="the whole TrainConfig")
    epoch: NonNegativeInt = Field(description="complete epochs")
    step: NonNegativeInt = Field(description="optimiser steps since the start")
    training_images: PositiveInt | None = Field(None, description="null in older files")
    steps_per_epoch: PositiveInt | None = Field(None, description="null in older files")
    metrics: Metrics | None = Field(None, description="of an evaluation; null if there was none")
    versions: dict[str, str | None]


@dataclass(frozen=True)
class Checkpoint:
    """Weights by parameter name, and what they mean."""

    parameters: Arrays
    info: CheckpointInfo


def save(net: nn.Cell, info: CheckpointInfo, path: Path, state: Arrays | None = None) -> None:
    """Write the weights, the .json and, given a state, the .npz; the weights appear last.

    Whenever the process is killed: if the weights are there, so are the others. Raises OutputError
    if a file cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder:
            new = Path(folder, path.name)
            _write(net, info, new, state)
            for suffix in (".json", ".npz", path.suffix):
                if new.with_suffix(suffix).exists():
                    new.with_suffix(suffix).replace(path.with_suffix(suffix))


def _write(net: nn.Cell, info: CheckpointInfo, path: Path, state: Arrays | None) -> None:
    write_arrays({name: p.asnumpy() for name, p in parameters_of(net).items()}, path)
    if state is not None:
        write_arrays(state, path.with_suffix(".npz"))
    info = info.model_copy(update={"sha256": sha256(path)})
    text = path.with_suffix(".json")
    text.write_text(info.model_dump_json(indent=2) + "\n")
    text.chmod(FILE_MODE)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint; raise CheckpointError if a file is missing, damaged or of another one."""
    for file in (path, path.with_suffix(".json")):
        if not file.is_file():
            raise CheckpointError(f"no file {file}; a checkpoint is <stem>.ckpt and <stem>.json")
    info = read_info(path)
    _check_digest(path, info)
    return Checkpoint(read_arrays(path), info)


def read_info(path: Path) -> CheckpointInfo:
    """Read the .json of a checkpoint alone; raise CheckpointError if it is not one."""
    try:
        return CheckpointInfo.model_validate_json(path.with_suffix(".json").read_bytes())
    except ValidationError as error:
        raise CheckpointError(f"{path} is not a checkpoint: {error}") from error


def _check_digest(path: Path, info: CheckpointInfo) -> None:
    if info.sha256 is not None and info.sha256 != (found := sha256(path)):
        raise CheckpointError(
            f"{path} is damaged, or belongs to another {path.with_suffix('.json').name}: "
            f"its sha256 is {found}, the .json states {info.sha256}; copy both files again"
        )


def restore(net: nn.Cell, parameters: Arrays) -> None:
    """Set every parameter of the network; raise CheckpointError listing what does not fit."""
    set_parameters(parameters_of(net), parameters)


def parameters_of(net: nn.Cell) -> dict[str, Parameter]:
    """Return the parameters by name; those of an average have the names of what it averages."""
    return {p.name.removeprefix(AVERAGE): p for p in net.get_parameters()}


def set_parameters(wanted: Mapping[str, Parameter], found: Arrays) -> None:
    """Set each parameter by its name; raise CheckpointError listing what does not fit."""
    problems = list(_problems(wanted, found))
    if problems:
        raise CheckpointError("the checkpoint does not fit: " + "; ".join(problems))
    for name, parameter in wanted.items():
        parameter.set_data(Tensor(np.asarray(found[name], order="C"), parameter.dtype))


def _problems(wanted: Mapping[str, Parameter], parameters: Arrays) -> Iterator[str]:
    yield from (f"missing: {name}" for name in sorted(wanted.keys() - parameters.keys()))
    yield from (f"left over: {name}" for name in sorted(parameters.keys() - wanted.keys()))
    for name in sorted(wanted.keys() & parameters.keys()):
        found, shape = parameters[name], tuple(wanted[name].shape)
        if found.shape != shape:
            yield f"{name} has shape {found.shape}, the network {shape}"
        whole = np.issubdtype(wanted[name].asnumpy().dtype, np.integer)
        if not np.issubdtype(found.dtype, np.integer if whole else np.floating):
            right = "integers" if whole else "floating-point numbers"
            yield f"{name} holds {found.dtype}, not {right}"


def load_network(path: Path) -> tuple[nn.Cell, CheckpointInfo]:
    """Return the checkpoint's network in evaluation mode, and what it means."""
    checkpoint = load(path)
    info = checkpoint.info
    net = build(info.architecture, info.num_classes, info.pooling, eval_mirror=info.eval_mirror)
    restore(net, checkpoint.parameters)
    return net.set_train(False), info


def read_arrays(path: Path) -> Arrays:
    """Return the arrays by name in a .ckpt, .safetensors or .npz file, or in one of PyTorch.

    Raises CheckpointError if it is missing or cannot be read.
    """
    if not path.is_file():
        raise CheckpointError(f"no file {path}")
    try:
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                return dict(arrays)
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        if path.suffix in torch_file.SUFFIXES:
            return torch_file.read(path)
        found = mindspore.load_checkpoint(str(path))
        return {name: value.asnumpy() for name, value in found.items()}
    except (ValueError, SafetensorError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} is not a checkpoint: {error}") from error


def write_arrays(arrays: Arrays, path: Path) -> None:
    """Write arrays by name, on disk when this returns and readable by everyone; raise OSError."""
    if path.suffix == ".npz":
        # numpy's stubs take a name for the argument allow_pickle.
        np.savez(path, **arrays)  # type: ignore[arg-type]
    elif path.suffix == ".safetensors":
        ordered = {name: np.asarray(value, order="C") for name, value in arrays.items()}
        path.write_bytes(safetensors_bytes(ordered))
    else:
        entries = [{"name": name, "data": Tensor(value)} for name, value in arrays.items()]
        mindspore.save_checkpoint(entries, str(path))
    path.chmod(FILE_MODE)
    with path.open("rb") as file:
        os.fsync(file.fileno())
