"""Names of weights in checkpoints of torchvision, timm and mindcv, and ours for the same.

Sources: torchvision/models/resnet.py, timm/models/resnet.py, mindcv/models/resnet.py. All three
build what `training.resnext` does: the stride is on the 3x3 convolution, only the head has a bias,
and batch norm has an epsilon of 1e-5.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from training.checkpoint.checkpoints import Arrays
from training.errors import CheckpointError

BLOCK = re.compile(r"layer\d+\.\d+\.")
IN_BLOCKS = {name: name for name in ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3")}
COUNTER = ".num_batches_tracked"  # of PyTorch's batch norm, which uses it in training alone


@dataclass(frozen=True)
class Names:
    """How a library calls the shortcut, the head, and the parameters of batch norm."""

    shortcut: str
    head: str
    norm: Mapping[str, str]

    def ours(self, found: Arrays) -> Arrays:
        """Return the weights under our names; one that is of no ResNeXt keeps its name.

        Raises CheckpointError if two names are those of one weight.
        """
        ours: Arrays = {}
        for name, value in found.items():
            if name.endswith(COUNTER):
                continue
            our = self._ours(name)
            if our in ours:
                raise CheckpointError(f"{name} is a second {our}; a checkpoint may hold only one")
            ours[our] = value
        return ours

    def _ours(self, name: str) -> str:
        module, _, kind = name.rpartition(".")
        block = BLOCK.match(module)
        place = block[0] if block else ""
        known = self._in_blocks if block else self._around
        part = known.get(module.removeprefix(place))
        if part is None:
            return name
        if part == "head.fc":
            return f"{part}.{kind}"
        kind = self.norm.get(kind, kind) if "bn" in part else kind
        return f"backbone.{place}{part}.{kind}"

    @property
    def _in_blocks(self) -> dict[str, str]:
        shortcut = {
            f"{self.shortcut}.0": "down_sample.conv",
            f"{self.shortcut}.1": "down_sample.bn",
        }
        return IN_BLOCKS | shortcut

    @property
    def _around(self) -> dict[str, str]:
        return {"conv1": "conv", "bn1": "bn", self.head: "head.fc"}


TORCH = Names(
    shortcut="downsample",
    head="fc",
    norm={
        "weight": "gamma",
        "bias": "beta",
        "running_mean": "moving_mean",
        "running_var": "moving_variance",
    },
)
MINDCV = Names(shortcut="down_sample", head="classifier", norm={})
