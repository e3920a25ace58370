"""What a bundle is made from: the evaluated model, before any conversion."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from export.config import ExportConfig
from export.contract.bundle import sha256
from export.contract.golden import Predict
from export.contract.manifest import Normalization
from export.contract.transform import Transform
from export.errors import ExportError
from export.formats import FileFormat, writer

IMAGES_AT_ONCE = 64


@dataclass(frozen=True)
class Original:
    """A model as it was evaluated; every file of its bundle must answer as it does."""

    architecture: str
    sha256: str
    labels: list[str]
    transform: Transform
    normalization: Normalization
    predict: Predict
    write: Callable[[FileFormat, Path], None]


def from_checkpoint(config: ExportConfig) -> Original:
    """Return the checkpoint in MindSpore on its device; raise `ExportError`."""
    # training first: it sets what mindspore must find in the environment.
    from training.checkpoints import CheckpointError, load_network  # isort: skip
    from export.graph import Deployment, predictor, select_device

    select_device(config.device_target, config.device_id)
    try:
        network, info = load_network(config.ckpt_file)
    except CheckpointError as error:
        raise ExportError(str(error)) from error
    _check_size(config, info.transform)
    deployment = Deployment(network, info.normalization, info.transform.crop)
    return Original(
        architecture=info.architecture,
        sha256=sha256(config.ckpt_file),
        labels=info.labels,
        transform=info.transform,
        normalization=info.normalization,
        predict=predictor(deployment.graph(), IMAGES_AT_ONCE),
        write=lambda file_format, path: writer(file_format)(deployment, path),
    )


def _check_size(config: ExportConfig, transform: Transform) -> None:
    size = transform.crop
    asked = (config.height or size.height, config.width or size.width)
    if asked != (size.height, size.width):
        raise ExportError(
            f"--height and --width ask for {asked[0]} x {asked[1]}, but the checkpoint was "
            f"evaluated on images of {size.height} x {size.width}; leave the flags out"
        )
