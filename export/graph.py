"""The deployment graph: uint8 pixels in, float32 probabilities out, everything between inside."""

from dataclasses import dataclass

import training  # noqa: F401  # isort: skip  # sets what mindspore must find in the environment
import mindspore
import numpy as np
from mindspore import Tensor, nn
from numpy.typing import NDArray

from bundle.golden import Predict
from bundle.manifest import Normalization
from export.evaluation_set import padded
from images.transform import Pixels, Size

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


@dataclass(frozen=True)
class Deployment:
    """All that a format's writer needs to know about the model."""

    network: nn.Cell
    normalization: Normalization
    size: Size

    def graph(self) -> DeploymentGraph:
        """Return a new graph for each compilation: MindSpore lowers the one that it compiles."""
        graph = DeploymentGraph(self.network, self.normalization)
        graph.set_train(False)
        return graph

    def example(self, batch: int) -> Tensor:
        """Return an input of zeros, uint8 (batch, height, width, 3)."""
        return Tensor(np.zeros((batch, self.size.height, self.size.width, 3), np.uint8))


def predictor(graph: nn.Cell, batch: int) -> Predict:
    """Return a function uint8 (n, height, width, 3) -> float32 (n, classes) that runs in MindSpore.

    It runs `batch` images at once, fewer if they are large, and pads with zeros, so that MindSpore
    compiles only once.
    """

    def run(pixels: Pixels, images: int) -> NDArray[np.float32]:
        # Not mindspore.jit: it names the compilation after the module, and MindSpore gives one
        # whose name begins with "export" no backend.
        output = graph.compile_and_run(Tensor(padded(pixels, images)))
        return np.asarray(output.asnumpy()[: len(pixels)], np.float32)

    def predict(pixels: Pixels) -> NDArray[np.float32]:
        _, height, width, _ = pixels.shape
        step = max(1, min(batch, PIXELS_AT_ONCE // (height * width)))
        parts = [pixels[start : start + step] for start in range(0, len(pixels), step)]
        return np.concatenate([run(part, step) for part in parts])

    return predict
