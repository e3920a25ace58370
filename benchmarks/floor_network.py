"""The network alone, float pixels in, in each runtime that has its precision, for the floor."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper
from pydantic import BaseModel, ConfigDict, PositiveInt

from cli.program import UsageError
from export.formats.onnx_model import save
from export.original import INPUT
from images.transform import Size
from serving.backends.openvino.library import core
from serving.backends.ort.library import onnxruntime

FloorRuntime = Literal["onnxruntime", "openvino"]
Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""float32 (n, 3, height, width) -> float32 (n, classes)."""

RUNTIMES: dict[str, tuple[FloorRuntime, ...]] = {
    "fp32": ("onnxruntime", "openvino"),
    "int8": ("onnxruntime", "openvino"),
    "fp16": ("onnxruntime",),
    "bf16": ("openvino",),
}
# What a deployment graph does to bytes before the network.
PRELUDE = {"Cast", "Transpose", "Sub", "Div", "Mul", "Add"}
HINTS = {"bf16": "bf16"}


class Way(BaseModel):
    """How the network runs: how many batches at once, of how many images, on how many threads."""

    model_config = ConfigDict(frozen=True)

    runtime: FloorRuntime
    workers: PositiveInt
    threads: PositiveInt
    batch: PositiveInt

    def __str__(self) -> str:
        return f"{self.runtime}, {self.workers} x {self.threads} threads, batches of {self.batch}"


def write_network(deployment: Path, network: Path, size: Size) -> None:
    """Write what a deployment graph has behind its prelude: float32 (batch, 3, height, width) in.

    Raises:
        UsageError: the graph takes more than one path from its images.
    """
    model = onnx.load(deployment)
    last, prelude = INPUT, list[NodeProto]()
    while (node := _only_consumer(model, last, deployment)).op_type in PRELUDE:
        prelude.append(node)
        last = node.output[0]
    for node in prelude:
        model.graph.node.remove(node)
    if not any(node.op_type == "Transpose" for node in prelude):
        node = helper.make_node("Transpose", ["channels_first"], [last], perm=[0, 2, 3, 1])
        model.graph.node.insert(0, node)
        last = "channels_first"
    del model.graph.input[:]
    shape = ("batch", 3, size.height, size.width)
    model.graph.input.append(helper.make_tensor_value_info(last, TensorProto.FLOAT, shape))
    save(model, network)


def _only_consumer(model: ModelProto, name: str, path: Path) -> NodeProto:
    consumers = [node for node in model.graph.node if name in node.input]
    if len(consumers) != 1:
        raise UsageError(
            f"{path}: {name} goes to {len(consumers)} nodes, so the network cannot be told from "
            f"what is before it; name the file that the bundle was made from with --original"
        )
    return consumers[0]


class Network:
    """A network in a runtime, for a number of workers at once.

    Args:
        path: an ONNX file; float32 (batch, 3, height, width) in, one output.
        precision: what it computes in.
        way: runtime, workers and threads; any batch runs.

    Raises:
        UsageError: it takes something else.
        RuntimeError: the runtime does not run in this precision.
    """

    def __init__(self, path: Path, precision: str, way: Way) -> None:
        opened = _onnxruntime if way.runtime == "onnxruntime" else _openvino
        self.runs = opened(path, precision, way)


def _onnxruntime(path: Path, _precision: str, way: Way) -> list[Run]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = way.threads, 3
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    images, *others = session.get_inputs()
    if others or images.type != "tensor(float)" or images.shape[1] != 3:
        raise UsageError(
            f"{path} takes {images.type} {images.shape}; the floor feeds float32 images of three "
            f"channels, channels first"
        )

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        [answers] = session.run(None, {images.name: batch})
        return np.asarray(answers)

    return [run] * way.workers


def _openvino(path: Path, precision: str, way: Way) -> list[Run]:
    hint = HINTS.get(precision, "f32")
    compiled = core.compile_model(
        path,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": way.workers * way.threads,
            "NUM_STREAMS": way.workers,
            "ENABLE_HYPER_THREADING": True,
            "ENABLE_CPU_PINNING": False,
        },
    )
    used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    if used != hint:
        raise RuntimeError(f"OpenVINO runs {path} in {used} and not in {hint}: this CPU has none")
    return [_request(compiled) for _ in range(way.workers)]


def _request(compiled: Any) -> Run:
    request = compiled.create_infer_request()

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(request.infer([batch], share_inputs=True)[0])

    return run
