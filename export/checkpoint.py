"""A MindSpore checkpoint as the original of a bundle."""

from export.config import ExportConfig
from export.contract.bundle import sha256
from export.contract.transform import Size
from export.errors import ExportError
from export.formats import writer
from export.graph import Deployment, predictor
from export.original import IMAGES_AT_ONCE, Original
from training.checkpoints import load_network
from training.device import use


def from_checkpoint(config: ExportConfig) -> Original:
    """Return the checkpoint, running in MindSpore on the device asked for.

    Raises:
        ExportError: width or height are not those of the checkpoint.
        TrainingError: there is no such device, or no sound checkpoint.
    """
    use(config.device_target, config.device_id)
    network, info = load_network(config.ckpt_file)
    _check_size(config, info.transform.crop)
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


def _check_size(config: ExportConfig, size: Size) -> None:
    asked = (config.height or size.height, config.width or size.width)
    if asked != (size.height, size.width):
        raise ExportError(
            f"--height and --width ask for {asked[0]} x {asked[1]}, but the checkpoint was "
            f"evaluated on images of {size.height} x {size.width}; leave the flags out"
        )
