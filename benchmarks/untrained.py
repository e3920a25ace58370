"""Networks with random weights."""

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory

import training  # noqa: F401  # isort: skip  # sets what mindspore must find in the environment
import mindspore
import numpy as np
from mindspore import Tensor

from benchmarks.models import NAME, Network
from benchmarks.photos import jpeg, photo
from bundle.manifest import IMAGENET
from export.checkpoint import WRITERS
from export.evaluation_set import HeldImages
from export.graph import Deployment, predictor
from export.original import IMAGES_AT_ONCE, Original
from images.transform import Size, Stretch, Transform
from training.resnext import ARCHITECTURES, Architecture, ResNeXt, Stem

ARCHITECTURE = Architecture(
    (1, 1, 1, 1), cardinality=8, base_width=4, outputs=64, stem=Stem(channels=32, kernel=3)
)
CLASSES = 1000
LAST_GAMMA, HEAD_SCALE = 0.2, 128
# Photos to calibrate int8 on, other ones than those that are sent.
CALIBRATION_SEEDS, CALIBRATION_BATCH = range(1000, 1008), 2
TRANSFORM = Transform(
    resize=Stretch(height=256, width=256), crop=Size(height=224, width=224), antialias=False
)


def original(name: Network = NAME) -> Original:
    """Return a network with random weights, the same ones at every call."""
    mindspore.set_seed(0)
    architecture = ARCHITECTURE if name == NAME else ARCHITECTURES[name]
    network = ResNeXt(architecture, CLASSES).set_train(False)
    _sharpen(network)
    deployment = Deployment(network, IMAGENET, TRANSFORM.crop)
    weights = b"".join(parameter.asnumpy().tobytes() for parameter in network.get_parameters())
    return Original(
        architecture=name,
        sha256=hashlib.sha256(weights).hexdigest(),
        labels=[str(index) for index in range(CLASSES)],
        transform=TRANSFORM,
        normalization=IMAGENET,
        predict=predictor(deployment.graph(), IMAGES_AT_ONCE),
        write=lambda file_format, path: WRITERS[file_format](deployment, path),
        quantize=_quantize,
    )


def _sharpen(network: ResNeXt) -> None:
    """Let every branch and the head change the output, so that parity means something.

    A fresh network's last gammas are 0, and its probabilities hardly differ from 1 / classes.
    """
    for parameter in network.get_parameters():
        if parameter.name.endswith(".bn3.gamma"):
            parameter.set_data(Tensor(parameter.asnumpy() + LAST_GAMMA))
    weight = network.head.fc.weight
    weight.set_data(Tensor(weight.asnumpy() * HEAD_SCALE))


def _quantize(source: Path, target: Path) -> None:
    """Write the int8 copy of a float32 file, calibrated on photos: no accuracy can judge it."""
    from export.precision.quantizer import Quantizer

    photos = np.stack([TRANSFORM.decode(jpeg(photo(seed))) for seed in CALIBRATION_SEEDS])
    # Random weights make as much of the rounding that differs between runtimes as of int8 itself,
    # so that a file would fail the proof in one of them. With half of the contrast its ranges clip,
    # which is the same everywhere, and sets its answers apart.
    pale = photos // 2 + 64
    with TemporaryDirectory(prefix="int8-") as scratch:
        held = HeldImages("photos made from seeds", pale)
        Quantizer(source, Path(scratch), held, CALIBRATION_BATCH).write(target, "minmax", kept=[])
