"""A checkpoint is <stem>.ckpt, the weights, and <stem>.json, what they are and expect.

The weights may be .safetensors as well. The .json holds their digest, so that neither can stand
beside another's. <stem>.npz, where there is one, is the rest of what resuming needs.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from mindspore import Parameter, Tensor, nn
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from bundle.manifest import Normalization, Sha256
from bundle.store import sha256
from images.transform import Transform
from training.checkpoint import weight_files
from training.checkpoint.weight_files import FILE_MODE, Arrays
from training.errors import CheckpointError
from training.metrics import Metrics
from training.resnext import build
from training.writing import writing


class CheckpointInfo(BaseModel):
    """What the weights are, what they expect, and how they came about."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    schema_version: Literal[1] = Field(1, alias="schema")
    sha256: Sha256 | None = Field(
        None, description="of the weights; null in files of before the field"
    )
    architecture: str
    num_classes: int
    labels: list[str]
    transform: Transform
    normalization: Normalization
    config: dict[str, Any] = Field(description="the whole TrainConfig")
    epoch: NonNegativeInt = Field(description="complete epochs")
    step: NonNegativeInt = Field(description="optimiser steps since the start")
    training_images: PositiveInt | None = Field(None, description="null before the field")
    steps_per_epoch: PositiveInt | None = Field(None, description="null before the field")
    metrics: Metrics | None = Field(None, description="evaluation; null where there was none")
    versions: dict[str, str | None]


@dataclass(frozen=True)
class Checkpoint:
    """Weights by parameter name, and what they mean."""

    parameters: Arrays
    info: CheckpointInfo


def save(net: nn.Cell, info: CheckpointInfo, path: Path, state: Arrays | None = None) -> None:
    """Write the weights, the .json and, given a state, the .npz; the weights appear last.

    Whoever finds the weights finds the others, whenever the process is killed. Raises
    OutputError where they cannot be written.
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
    weight_files.write({p.name: p.asnumpy() for p in net.get_parameters()}, path)
    if state is not None:
        weight_files.write(state, path.with_suffix(".npz"))
    info = info.model_copy(update={"sha256": sha256(path)})
    text = path.with_suffix(".json")
    text.write_text(info.model_dump_json(indent=2) + "\n")
    text.chmod(FILE_MODE)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint; raise CheckpointError where a file is missing, broken or another's."""
    for file in (path, path.with_suffix(".json")):
        if not file.is_file():
            raise CheckpointError(f"no file {file}; a checkpoint is <stem>.ckpt and <stem>.json")
    info = read_info(path)
    _check_digest(path, info)
    return Checkpoint(weight_files.read(path), info)


def read_info(path: Path) -> CheckpointInfo:
    """Read the .json of a checkpoint alone; raise CheckpointError if it is no such file."""
    try:
        return CheckpointInfo.model_validate_json(path.with_suffix(".json").read_bytes())
    except ValidationError as error:
        raise CheckpointError(f"{path} is not a checkpoint: {error}") from error


def _check_digest(path: Path, info: CheckpointInfo) -> None:
    if info.sha256 is not None and info.sha256 != (found := sha256(path)):
        raise CheckpointError(
            f"{path} is damaged, or belongs to another {path.with_suffix('.json').name}: "
            f"its sha256 is {found}, the .json states {info.sha256}; copy both files anew"
        )


def restore(net: nn.Cell, parameters: Arrays) -> None:
    """Set every parameter of the network; raise CheckpointError listing what does not fit."""
    set_parameters({parameter.name: parameter for parameter in net.get_parameters()}, parameters)


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
    net = build(checkpoint.info.architecture, checkpoint.info.num_classes)
    restore(net, checkpoint.parameters)
    return net.set_train(False), checkpoint.info
