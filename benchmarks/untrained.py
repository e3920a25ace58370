"""Networks with random weights."""

import hashlib

import training  # noqa: F401  # isort: skip  # sets what mindspore must find in the environment
import mindspore
from mindspore import Tensor

from benchmarks.models import FULL, NAME, Network
from bundle.manifest import IMAGENET
from export.checkpoint import WRITERS
from export.graph import Deployment, predictor
from export.original import IMAGES_AT_ONCE, Original
from images.transform import Size, Stretch, Transform
from training.resnext import ARCHITECTURES, Architecture, ResNeXt, Stem

ARCHITECTURE = Architecture(
    (1, 1, 1, 1), cardinality=8, base_width=4, outputs=64, stem=Stem(channels=32, kernel=3)
)
CLASSES = 1000
LAST_GAMMA, HEAD_SCALE = 0.2, 128
TRANSFORM = Transform(
    resize=Stretch(height=256, width=256), crop=Size(height=224, width=224), antialias=False
)


def original(name: Network = NAME) -> Original:
    """Return a network with random weights, the same ones at every call."""
    mindspore.set_seed(0)
    architecture = ARCHITECTURE if name == NAME else ARCHITECTURES[name]
    network = ResNeXt(architecture, CLASSES).set_train(False)
    if name == FULL:
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
