"""Networks of the family with random weights that a counter gives: the same bytes on every machine.

Batch norm is folded already, as in a bundle: a convolution has a weight and a bias. In numpy alone,
so that a machine without onnx or MindSpore can make them again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.models import NAME, Network
from training.architectures import ARCHITECTURES, Architecture, Stem

SMALL = Architecture(
    (1, 1, 1, 1), cardinality=8, base_width=4, outputs=64, stem=Stem(channels=32, kernel=3)
)
CLASSES, SIDE = 1000, 224
# So that the likeliest of 1000 classes has a probability of 0.1 to 0.5: parity of answers that
# hardly differ would mean little, and one class with all of it as little.
HEAD_GAINS: dict[Network, float] = {"resnext14_8x4d_224": 2.5, "resnext152_64x4d": 0.3}
# The other half of the key is the number of the tensor.
KEY = 0x5265734E655874
BITS = 16
# What the last convolution of a block adds to its shortcut, against a network that trains: more,
# and fifty blocks would let the answers explode.
LAST_GAIN = 0.2
# Of the biases: small beside what they are added to, but no fused bias may get lost unnoticed.
BIAS_STD = 0.05


class Layer(NamedTuple):
    """A convolution with a square kernel, or the dense layer, whose `kernel` is 0."""

    name: str
    inputs: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    gain: float = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight: (outputs, inputs per group, kernel, kernel), dense (outputs, inputs)."""
        window = (self.kernel, self.kernel) if self.kernel else ()
        return (self.outputs, self.inputs // self.groups, *window)

    @property
    def std(self) -> float:
        """Of the weight: behind it values vary as before it (He et al. 2015, arXiv:1502.01852)."""
        return self.gain * float(np.sqrt(2 / np.prod(self.shape[1:])))


class Block(NamedTuple):
    """A bottleneck: three convolutions in a row, and one on the shortcut of a stage's first."""

    first: Layer
    grouped: Layer
    last: Layer
    shortcut: Layer | None


class Parameter(NamedTuple):
    """A weight or a bias: what makes it again."""

    number: int
    shape: tuple[int, ...]
    std: float

    def values(self) -> NDArray[np.float32]:
        """Return its values, float32 of its shape."""
        return uniform(self.number, self.shape, self.std)


@dataclass(frozen=True)
class Untrained:
    """The layers of a network, in the order in which they run."""

    architecture: Architecture
    classes: int
    head_gain: float

    @property
    def stem(self) -> Layer:
        """The first convolution."""
        stem = self.architecture.stem
        return Layer("backbone.conv", 3, stem.channels, stem.kernel, stem.stride)

    def blocks(self) -> Iterator[Block]:
        """Yield the bottlenecks."""
        plan = self.architecture
        inputs = self.stem.outputs
        for stage, count in enumerate(plan.blocks):
            width, outputs = plan.cardinality * plan.base_width << stage, plan.outputs << stage
            for number in range(count):
                name = f"backbone.layer{stage + 1}.{number}"
                stride = 2 if stage and not number else 1
                shortcut = Layer(f"{name}.down_sample.conv", inputs, outputs, 1, stride)
                yield Block(
                    Layer(f"{name}.conv1", inputs, width),
                    Layer(f"{name}.conv2", width, width, 3, stride, plan.cardinality),
                    Layer(f"{name}.conv3", width, outputs, gain=LAST_GAIN),
                    None if number else shortcut,
                )
                inputs = outputs

    @property
    def head(self) -> Layer:
        """The dense layer."""
        inputs = self.architecture.outputs << (len(self.architecture.blocks) - 1)
        return Layer("head.fc", inputs, self.classes, kernel=0, gain=self.head_gain)

    def layers(self) -> Iterator[Layer]:
        """Yield all of them."""
        yield self.stem
        for block in self.blocks():
            yield from (layer for layer in block if layer)
        yield self.head

    def parameters(self) -> Mapping[str, Parameter]:
        """Return weights and biases by name."""
        found = dict[str, Parameter]()
        for layer in self.layers():
            found[f"{layer.name}.weight"] = Parameter(len(found), layer.shape, layer.std)
            found[f"{layer.name}.bias"] = Parameter(len(found), layer.shape[:1], BIAS_STD)
        return found


def network(name: Network) -> Untrained:
    """Return the layers of a network of `benchmarks.models`."""
    architecture = SMALL if name == NAME else ARCHITECTURES[name]
    return Untrained(architecture, CLASSES, HEAD_GAINS[name])


def uniform(number: int, shape: tuple[int, ...], std: float) -> NDArray[np.float32]:
    """Return float32 values of mean 0 and this standard deviation, the same ones everywhere.

    They are 16 random bits each of Philox 4x64 (Salmon et al. 2011, "Parallel random numbers: as
    easy as 1, 2, 3"), whose key holds the tensor's number; whole numbers until one product rounds.
    """
    size = int(np.prod(shape))
    words = np.random.Philox(key=np.array([KEY, number], np.uint64)).random_raw(-(-size // 4))
    bits = words.astype("<u8").view("<u2")[:size]
    odd = 2 * bits.astype(np.int32) - (2**BITS - 1)
    scale = np.float32(std * np.sqrt(3) / (2**BITS - 1))
    return np.asarray((odd.astype(np.float32) * scale).reshape(shape), np.float32)
