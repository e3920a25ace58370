"""Checkpoints without a .json: of the upstream scripts, of torchvision and timm, or of mindcv.

The names of the weights say whose they are; with their shapes, which member of the family.
"""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mindspore import nn

from bundle.manifest import IMAGENET
from bundle.preparation import IMAGENET_PREPARATION, Preparation
from images.transform import Size, Stretch, Transform
from training.architectures import ARCHITECTURES, Pooling, recognise
from training.checkpoint.checkpoints import Arrays, read_arrays, restore
from training.checkpoint.names import MINDCV, TORCH
from training.checkpoint.upstream import one_layout
from training.errors import CheckpointError
from training.resnext import build

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origin:
    """Whose weights they are, and what follows from that.

    Attributes:
        title: who calls them so.
        sign: what a name matches that only they have.
        ours: returns the weights under our names.
        pooling: how the network was built that they were trained in.
        preparation: how images are prepared for it, as a rule.
    """

    title: str
    sign: re.Pattern[str]
    ours: Callable[[Arrays], Arrays]
    pooling: Pooling
    preparation: Preparation


ORIGINS = (
    Origin(
        title="torchvision and timm",
        sign=re.compile(r".+\.running_(mean|var)"),
        ours=TORCH.ours,
        pooling="symmetric",
        preparation=IMAGENET_PREPARATION,
    ),
    Origin(
        title="mindcv",
        sign=re.compile(r"(bn1|layer\d+|classifier)\..+"),
        ours=MINDCV.ours,
        pooling="same",
        # Its own resize, MindSpore's, has no antialias.
        preparation=IMAGENET_PREPARATION,
    ),
)
UPSTREAM = Origin(
    title="the upstream",
    sign=re.compile(".+"),
    ours=one_layout,
    pooling="same",
    # As it evaluates: Resize((256, 256)) in MindSpore, then a centre crop.
    preparation=Preparation(
        transform=Transform(
            resize=Stretch(height=256, width=256),
            crop=Size(height=224, width=224),
            antialias=False,
        ),
        normalization=IMAGENET,
    ),
)


class BareNetwork(NamedTuple):
    """A network in evaluation mode, and what it is."""

    net: nn.Cell
    architecture: str
    num_classes: int
    origin: Origin


def load_network(path: Path, architecture: str | None = None) -> BareNetwork:
    """Return the network of a checkpoint.

    Args:
        path: the file.
        architecture: what it is; None: what the names and shapes of its weights say.

    Raises:
        CheckpointError: there is no such file, it is of no member of the family, or weights are
            missing or left over.
        ArchitectureError: the family has no such member.
    """
    parameters, origin = read(path)
    if "head.fc.bias" not in parameters:
        raise CheckpointError(
            f"{path} holds no head.fc.bias (fc.bias in PyTorch, classifier.bias in mindcv), so it "
            f"is not a ResNeXt of the upstream, of torchvision, timm or mindcv"
        )
    classes = len(parameters["head.fc.bias"])
    architecture = architecture or _recognised(path, parameters, origin)
    network = build(architecture, classes, origin.pooling)
    restore(network, parameters)
    return BareNetwork(network.set_train(False), architecture, classes, origin)


def _recognised(path: Path, parameters: Arrays, origin: Origin) -> str:
    found = recognise({name: value.shape for name, value in parameters.items()})
    if found is None:
        raise CheckpointError(
            f"{path} has no {path.with_suffix('.json').name} beside it, and its weights are of no "
            f"architecture that is known here ({', '.join(ARCHITECTURES)})"
        )
    logger.info(
        "%s: %s, by the names and shapes of its weights, which are those of %s",
        path,
        found,
        origin.title,
    )
    return found


def read(path: Path) -> tuple[Arrays, Origin]:
    """Return a file's weights under our names, and whose they are.

    Raises CheckpointError if it cannot be read, a part of a weight is missing, or one is in twice.
    """
    found = read_arrays(path)
    origin = next((o for o in ORIGINS if any(map(o.sign.fullmatch, found))), UPSTREAM)
    return origin.ours(found), origin
