"""What is written of a network: the deployment graph, or the network alone.

The deployment graph takes uint8 pixels and gives float32 probabilities, everything between inside.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import training  # noqa: F401  # isort: skip  # sets what mindspore must find in the environment
import mindspore
import numpy as np
from mindspore import Tensor, nn
from numpy.typing import NDArray

from bundle.manifest import Normalization
from export.evaluation_set import padded
from export.original import LOGITS, OUTPUT
from images.transform import Size

# Bounds the memory that MindSpore needs: five images of 224 x 224 run at once.
PIXELS_AT_ONCE = 1 << 18


class DeploymentGraph(nn.Cell):  # type: ignore[misc]  # mindspore is untyped
    """NHWC to NCHW, cast, normalise, network, softmax around a network that gives logits.

    uint8 (batch, height, width, 3) -> float32 (batch, classes). Bytes are transposed, not floats:
    so ONNX Runtime takes a tenth of the time for all that comes before the network.
    """

    def __init__(self, network: nn.Cell, normalization: Normalization) -> None:
        super().__init__(auto_prefix=False)
        self.network = network
        self.mean = Tensor(np.array(normalization.mean, np.float32).reshape(1, 3, 1, 1))
        self.std = Tensor(np.array(normalization.std, np.float32).reshape(1, 3, 1, 1))
        self.softmax = nn.Softmax(axis=-1)

    def construct(self, images: Tensor) -> Tensor:
        """Return the probabilities of a batch of images."""
        pixels = images.transpose(0, 3, 1, 2).astype(mindspore.float32)
        return self.softmax(self.network((pixels - self.mean) / self.std))


class BareGraph(nn.Cell):  # type: ignore[misc]  # mindspore is untyped
    """The network alone: float32 (batch, 3, height, width), normalised -> its logits."""

    def __init__(self, network: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, images: Tensor) -> Tensor:
        """Return the logits of a batch of images."""
        return self.network(images)


@dataclass(frozen=True)
class Deployment:
    """All that a format's writer needs to know about the model."""

    network: nn.Cell
    normalization: Normalization
    size: Size

    output: ClassVar[str] = OUTPUT
    dtype: ClassVar[type[np.generic]] = np.uint8

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image."""
        return self.size.height, self.size.width, 3

    def graph(self) -> nn.Cell:
        """Return a new graph for each compilation: MindSpore lowers the one that it compiles."""
        return DeploymentGraph(self.network, self.normalization).set_train(False)

    def example(self, batch: int) -> Tensor:
        """Return so many images of zeros."""
        return Tensor(np.zeros((batch, *self.shape), self.dtype))


class Bare(Deployment):
    """The same, of the network alone."""

    output: ClassVar[str] = LOGITS
    dtype: ClassVar[type[np.generic]] = np.float32

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image."""
        return 3, self.size.height, self.size.width

    def graph(self) -> nn.Cell:
        """Return a new graph for each compilation."""
        return BareGraph(self.network).set_train(False)


def predictor(graph: nn.Cell, batch: int) -> Callable[[NDArray[np.generic]], NDArray[np.float32]]:
    """Return a function that runs a graph in MindSpore: what it takes, (n, ...) -> (n, classes).

    It runs `batch` images at once, fewer if they are large, and pads with zeros, so that MindSpore
    compiles only once.
    """

    def run(pixels: NDArray[np.generic], images: int) -> NDArray[np.float32]:
        # Not mindspore.jit: it names the compilation after the module, and MindSpore gives one
        # whose name begins with "export" no backend.
        output = graph.compile_and_run(Tensor(padded(pixels, images)))
        return np.asarray(output.asnumpy()[: len(pixels)], np.float32)

    def predict(pixels: NDArray[np.generic]) -> NDArray[np.float32]:
        step = max(1, min(batch, 3 * PIXELS_AT_ONCE // pixels[0].size))
        parts = [pixels[start : start + step] for start in range(0, len(pixels), step)]
        return np.concatenate([run(part, step) for part in parts])

    return predict
