"""A checkpoint is <stem>.ckpt, the weights, and <stem>.json, what they are and expect.

The .json holds the digest of the .ckpt, so that neither can stand beside another's.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import mindspore
import numpy as np
from mindspore import Parameter, Tensor, nn
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError

from export.contract.bundle import sha256
from export.contract.manifest import Normalization, Sha256
from export.contract.transform import Transform
from training.errors import CheckpointError
from training.metrics import Metrics
from training.resnext import build

Parameters = dict[str, NDArray[Any]]
FILE_MODE = 0o644  # mindspore writes 0400


class CheckpointInfo(BaseModel):
    """What the weights are, what they expect, and how they came about."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    schema_version: Literal[1] = Field(1, alias="schema")
    sha256: Sha256 | None = Field(
        None, description="of the .ckpt; null in files of before the field"
    )
    architecture: str
    num_classes: int
    labels: list[str]
    transform: Transform
    normalization: Normalization
    config: dict[str, Any] = Field(description="the whole TrainConfig")
    epoch: NonNegativeInt = Field(description="complete epochs")
    step: NonNegativeInt = Field(description="optimiser steps since the start")
    metrics: Metrics | None = Field(None, description="evaluation; null where there was none")
    versions: dict[str, str | None]


@dataclass(frozen=True)
class Checkpoint:
    """Weights by parameter name, and what they mean."""

    parameters: Parameters
    info: CheckpointInfo


def save(net: nn.Cell, info: CheckpointInfo, path: Path) -> None:
    """Write path (.ckpt) and its .json, each atomically, readable by everyone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder:
        weights, text = Path(folder, "new.ckpt"), Path(folder, "new.json")
        mindspore.save_checkpoint(net, str(weights))
        info = info.model_copy(update={"sha256": sha256(weights)})
        text.write_text(info.model_dump_json(indent=2) + "\n")
        for file in (weights, text):
            file.chmod(FILE_MODE)
        text.replace(path.with_suffix(".json"))
        weights.replace(path)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint; raise CheckpointError where a file is missing, broken or another's."""
    for file in (path, path.with_suffix(".json")):
        if not file.is_file():
            raise CheckpointError(f"no file {file}; a checkpoint is <stem>.ckpt and <stem>.json")
    try:
        info = CheckpointInfo.model_validate_json(path.with_suffix(".json").read_bytes())
        _check_digest(path, info)
        parameters = mindspore.load_checkpoint(str(path))
    except (ValidationError, ValueError) as error:
        raise CheckpointError(f"{path} is not a checkpoint: {error}") from error
    return Checkpoint({name: value.asnumpy() for name, value in parameters.items()}, info)


def _check_digest(path: Path, info: CheckpointInfo) -> None:
    if info.sha256 is not None and info.sha256 != (found := sha256(path)):
        raise CheckpointError(
            f"{path} is damaged, or belongs to another {path.with_suffix('.json').name}: "
            f"its sha256 is {found}, the .json states {info.sha256}; copy both files anew"
        )


def restore(net: nn.Cell, parameters: Mapping[str, NDArray[Any]]) -> None:
    """Set every parameter of the network; raise CheckpointError listing what does not fit."""
    wanted = {parameter.name: parameter for parameter in net.get_parameters()}
    problems = list(_problems(wanted, parameters))
    if problems:
        raise CheckpointError("the checkpoint does not fit: " + "; ".join(problems))
    for name, parameter in wanted.items():
        parameter.set_data(Tensor(np.ascontiguousarray(parameters[name])))


def _problems(
    wanted: Mapping[str, Parameter], parameters: Mapping[str, NDArray[Any]]
) -> Iterator[str]:
    yield from (f"missing: {name}" for name in sorted(wanted.keys() - parameters.keys()))
    yield from (f"left over: {name}" for name in sorted(parameters.keys() - wanted.keys()))
    for name in sorted(wanted.keys() & parameters.keys()):
        found, shape = parameters[name], tuple(wanted[name].shape)
        if found.shape != shape:
            yield f"{name} has shape {found.shape}, the network {shape}"
        if not np.issubdtype(found.dtype, np.floating):
            yield f"{name} holds {found.dtype}, not floating-point numbers"


def load_network(path: Path) -> tuple[nn.Cell, CheckpointInfo]:
    """Return the checkpoint's network in evaluation mode, and what it means."""
    checkpoint = load(path)
    net = build(checkpoint.info.architecture, checkpoint.info.num_classes)
    restore(net, checkpoint.parameters)
    return net.set_train(False), checkpoint.info
