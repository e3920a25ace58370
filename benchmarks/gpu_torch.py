"""`python -m benchmarks.gpu_torch`: what PyTorch makes of the same network, where there is one."""

import importlib
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product
from typing import Any

from pydantic import Field, PositiveFloat, PositiveInt

from benchmarks.command import Benchmark, configured, start
from benchmarks.models import FULL, Network
from benchmarks.weights import SIDE, Layer, Untrained, network
from cli.program import FAILED, fail
from cli.tables import show_rows

NETWORK = ("batch", "ms", "img/s")
GROUPED = ("channels", "pixels", "groups", "layout", "ms")
# Channels per group where groups are merged, as in export/formats/grouped.py, and twice as many.
WIDTHS = (16, 32)


class GpuTorch(Benchmark):
    """Measure the network in fp16, channels last, as a CUDA graph; and its grouped convolutions."""

    model_config = configured("benchmarks.gpu_torch")

    network: Network = Field(FULL, description="as of benchmarks.models")
    device: str = Field("cuda", description="PyTorch's name of it; cpu runs in fp32, without graph")
    batches: list[PositiveInt] = Field([1, 32, 128], description="sizes, comma-separated")
    duration_s: PositiveFloat = Field(1.0, description="length of each measurement, in seconds")

    def run(self) -> int:
        """Measure, and print the tables."""
        try:
            torch: Any = importlib.import_module("torch")
        except ImportError as error:
            return fail(f"PyTorch cannot be imported: {error}", FAILED)
        torch.backends.cudnn.benchmark = True
        layers, timer = network(self.network), Timer(torch, self.device, self.duration_s)
        print(f"PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}")
        with torch.inference_mode():
            runner = Forward(torch, layers, self.device)
            rows = []
            for batch in self.batches:
                ms = timer.graph_ms(runner, runner.images(batch))
                rows.append([str(batch), f"{ms:.2f}", f"{batch / ms * 1e3:.1f}"])
            show_rows(NETWORK, rows, title=f"{self.network}, {runner.dtype}, channels last")
            grouped = list(_grouped(torch, layers, timer, self.batches[-1]))
        show_rows(GROUPED, grouped, title=f"Grouped convolutions, batches of {self.batches[-1]}")
        return 0


class Forward:
    """The network as PyTorch runs it: normalised images (n, 3, side, side) -> logits."""

    def __init__(self, torch: Any, layers: Untrained, device: str) -> None:
        self._torch, self._layers, self._device = torch, layers, device
        self.dtype = torch.float32 if device == "cpu" else torch.float16
        self._weights: Mapping[str, Any] = {
            name: self._placed(torch.from_numpy(parameter.values()))
            for name, parameter in layers.parameters().items()
        }

    def images(self, batch: int) -> Any:
        """Return images of noise."""
        return self._placed(self._torch.randn(batch, 3, SIDE, SIDE))

    def __call__(self, x: Any) -> Any:
        """Return the logits."""
        functional, relu = self._torch.nn.functional, self._torch.relu
        x = relu(self._convolve(self._layers.stem, x))
        if self._layers.architecture.stem.pool:
            # The pixel that "same" adds to even sizes, at the end; no value is below 0 here.
            x = functional.max_pool2d(functional.pad(x, (0, 1, 0, 1)), 3, 2)
        for block in self._layers.blocks():
            y = relu(self._convolve(block.first, x))
            y = self._convolve(block.last, relu(self._convolve(block.grouped, y)))
            x = relu(y + (self._convolve(block.shortcut, x) if block.shortcut else x))
        return functional.linear(x.mean((2, 3)), *self._of(self._layers.head))

    def _convolve(self, layer: Layer, x: Any) -> Any:
        convolve = self._torch.nn.functional.conv2d
        padding = layer.kernel // 2
        return convolve(x, *self._of(layer), layer.stride, padding, groups=layer.groups)

    def _of(self, layer: Layer) -> tuple[Any, Any]:
        return self._weights[f"{layer.name}.weight"], self._weights[f"{layer.name}.bias"]

    def _placed(self, tensor: Any) -> Any:
        placed = tensor.to(self._device, self.dtype)
        last = self._torch.channels_last
        return placed.to(memory_format=last) if placed.dim() == 4 else placed


class Timer:
    """Times what runs on a device."""

    def __init__(self, torch: Any, device: str, duration_s: float) -> None:
        self._torch, self._is_gpu, self._duration_s = torch, device != "cpu", duration_s
        self.device = device

    def graph_ms(self, forward: Forward, images: Any) -> float:
        """Return the time of a run, on a GPU of its CUDA graph."""
        if not self._is_gpu:
            return self.ms(lambda: forward(images))
        cuda = self._torch.cuda
        for _ in range(3):
            forward(images)
        cuda.synchronize()
        graph = cuda.CUDAGraph()
        with cuda.graph(graph):
            forward(images)
        return self.ms(graph.replay)

    def ms(self, run: Callable[[], object]) -> float:
        """Return the time of a run, of many one after another."""
        for _ in range(3):
            run()
        self._wait()
        runs, started = 0, time.monotonic()
        while (seconds := time.monotonic() - started) < self._duration_s or not runs:
            for _ in range(10):
                run()
            self._wait()
            runs += 10
        return seconds / runs * 1e3

    def _wait(self) -> None:
        if self._is_gpu:
            self._torch.cuda.synchronize()


def _grouped(torch: Any, layers: Untrained, timer: Timer, batch: int) -> Iterator[list[str]]:
    """Measure the grouped convolution of each stage in both layouts, with merged groups too."""
    dtype = torch.float32 if timer.device == "cpu" else torch.float16
    layouts = {"NHWC": torch.channels_last, "NCHW": torch.contiguous_format}
    widths = dict.fromkeys(block.grouped.outputs for block in layers.blocks())
    groups = layers.architecture.cardinality
    for stage, channels in enumerate(widths):
        side = SIDE // 4 >> stage
        counts = dict.fromkeys([groups, *(min(groups, channels // width) for width in WIDTHS)])
        for count, (layout, form) in product(counts, layouts.items()):
            shapes = (batch, channels, side, side), (channels, channels // count, 3, 3)
            x, w = (
                torch.randn(shape, device=timer.device, dtype=dtype).to(memory_format=form)
                for shape in shapes
            )
            convolve = partial(torch.nn.functional.conv2d, x, w, padding=1, groups=count)
            shape = [str(channels), f"{side} x {side}", str(count), layout]
            yield [*shape, f"{timer.ms(convolve):.4f}"]


if __name__ == "__main__":
    start(GpuTorch)
