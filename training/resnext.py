"""The ResNeXt family (Xie et al. 2016, arXiv:1611.05431) as one definition.

Parameter names are those of upstream resnext152_64x4d checkpoints: backbone.conv, backbone.bn,
backbone.layer{1..}.{i}.{conv,bn}{1,2,3}, backbone.layer{1..}.0.down_sample.{conv,bn}, head.fc.
Images come in as float32 (N, 3, H, W), normalised; float32 logits (N, classes) come out.
"""

import math

from mindspore import Tensor, nn, ops
from mindspore.common.initializer import HeNormal, HeUniform, Uniform

from training.architectures import ARCHITECTURES, Architecture, Pooling
from training.errors import ArchitectureError


def build(
    name: str, num_classes: int, pooling: Pooling = "same", *, eval_mirror: bool = False
) -> nn.Cell:
    """A freshly initialised member: float32 (N, 3, H, W), normalised -> logits (N, num_classes).

    Raises ArchitectureError for a name that is not in ARCHITECTURES.
    """
    if name not in ARCHITECTURES:
        raise ArchitectureError(
            f"unknown architecture {name!r}; there are {', '.join(ARCHITECTURES)}"
        )
    return ResNeXt(ARCHITECTURES[name], num_classes, pooling, eval_mirror=eval_mirror)


def initialise_per_group(net: nn.Cell) -> None:
    """Make the fresh weights of grouped convolutions sqrt(groups) times as large.

    They are initialised by the fan-out (He et al. 2015, arXiv:1502.01852): that of the whole
    convolution, or with this that of one group, as in the upstream's layout for Ascend, which has
    a convolution for each group.
    """
    for _, cell in net.cells_and_names():
        if isinstance(cell, nn.Conv2d) and cell.group > 1:
            cell.weight.set_data(cell.weight * math.sqrt(cell.group))


class ResNeXt(nn.Cell):  # type: ignore[misc]  # mindspore is untyped
    """Backbone and head: float32 (N, 3, H, W) -> logits (N, num_classes).

    Attributes:
        pooling: how the stem's max-pool is padded, which belongs to the weights.
        eval_mirror: in evaluation mode, logits are the mean of those of the image and of its mirror
            image (Simonyan & Zisserman 2015, arXiv:1409.1556, 3.2, who take that of probabilities).
    """

    def __init__(
        self, architecture: Architecture, num_classes: int, pooling: Pooling, *, eval_mirror: bool
    ) -> None:
        super().__init__()
        self.pooling, self.eval_mirror, self.classes = pooling, eval_mirror, num_classes
        self.backbone = Backbone(architecture, pooling)
        self.head = Head(self.backbone.channels, num_classes)

    def construct(self, x: Tensor) -> Tensor:
        """Return logits."""
        if self.training or not self.eval_mirror:
            return self.head(self.backbone(x))
        # One batch of twice the images: an exported graph holds the network once.
        both = self.head(self.backbone(ops.cat((x, ops.flip(x, (3,))))))
        return both.reshape(2, -1, self.classes).mean(axis=0)


class Backbone(nn.Cell):  # type: ignore[misc]  # mindspore is untyped
    """Stem and layers: (N, 3, H, W) -> feature maps (N, channels, h, w)."""

    def __init__(self, architecture: Architecture, pooling: Pooling) -> None:
        super().__init__()
        stem = architecture.stem
        self.conv = _conv(3, stem.channels, stem.kernel, stem.stride)
        self.bn = nn.BatchNorm2d(stem.channels)
        self.relu = nn.ReLU()
        self.pool = _max_pool(pooling) if stem.pool else nn.Identity()
        self.channels = stem.channels
        self.layers = tuple(self._layer(architecture, i) for i in range(len(architecture.blocks)))

    def _layer(self, architecture: Architecture, index: int) -> nn.SequentialCell:
        groups = architecture.cardinality
        width = groups * architecture.base_width << index
        outputs = architecture.outputs << index
        stride = 2 if index else 1
        first = Bottleneck(self.channels, width, outputs, groups, stride, down_sample=True)
        rest = range(1, architecture.blocks[index])
        layer = nn.SequentialCell(
            first, *(Bottleneck(outputs, width, outputs, groups) for _ in rest)
        )
        self.channels = outputs
        setattr(self, f"layer{index + 1}", layer)
        return layer

    def construct(self, x: Tensor) -> Tensor:
        """Return the last feature maps."""
        x = self.pool(self.relu(self.bn(self.conv(x))))
        for layer in self.layers:
            x = layer(x)
        return x


class Bottleneck(nn.Cell):  # type: ignore[misc]  # mindspore is untyped
    """1x1, grouped 3x3 (which carries the stride), 1x1, and a shortcut around them."""

    def __init__(
        self,
        inputs: int,
        width: int,
        outputs: int,
        groups: int,
        stride: int = 1,
        *,
        down_sample: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride, groups)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs, gamma_init="zeros")
        self.relu = nn.ReLU()
        self.down_sample = DownSample(inputs, outputs, stride) if down_sample else nn.Identity()

    def construct(self, x: Tensor) -> Tensor:
        """Return the sum of both paths."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + self.down_sample(x))


class DownSample(nn.Cell):  # type: ignore[misc]  # mindspore is untyped
    """Shortcut of a layer's first block: 1x1 convolution and batch norm."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = _conv(inputs, outputs, 1, stride)
        self.bn = nn.BatchNorm2d(outputs)

    def construct(self, x: Tensor) -> Tensor:
        """Return the shortcut."""
        return self.bn(self.conv(x))


class Head(nn.Cell):  # type: ignore[misc]  # mindspore is untyped
    """Mean over space, then Dense: (N, inputs, h, w) -> logits (N, num_classes)."""

    def __init__(self, inputs: int, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Dense(
            inputs,
            num_classes,
            weight_init=HeUniform(negative_slope=math.sqrt(5)),
            bias_init=Uniform(1 / math.sqrt(inputs)),
        )

    def construct(self, x: Tensor) -> Tensor:
        """Return logits."""
        return self.fc(x.mean(axis=(2, 3)))


def _max_pool(pooling: Pooling) -> nn.Cell:
    """Return a max-pool of what comes out of a ReLU."""
    if pooling == "same":
        return nn.MaxPool2d(3, 2, pad_mode="same")
    # Nothing is below the zeros around it. MaxPool2d's own padding has no ONNX.
    edges = nn.Pad(((0, 0), (0, 0), (1, 1), (1, 1)))
    return nn.SequentialCell(edges, nn.MaxPool2d(3, 2, pad_mode="valid"))


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(
        inputs,
        outputs,
        kernel,
        stride,
        pad_mode="pad",
        padding=kernel // 2,
        group=groups,
        weight_init=HeNormal(mode="fan_out", nonlinearity="relu"),
    )
