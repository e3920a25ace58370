"""MindSpore's own formats: MINDIR, made the same from run to run, and AIR."""

from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import training  # noqa: F401  # isort: skip  # sets what mindspore must find in the environment
import mindspore
import numpy as np
from mindspore import Tensor, nn
from mindspore.train import mind_ir_pb2
from numpy.typing import NDArray

from export.errors import ExportError
from export.formats.plain_path import plain
from export.graph import Deployment, predictor
from export.original import INPUT


def write(deployment: Deployment, path: Path) -> None:
    """Write the graph: (batch, *shape) of its type -> float32 (batch, classes).

    The batch is dynamic; the same weights give the same bytes. Raises `ExportError` if MindSpore
    would write several files.
    """
    dtype = deployment.example(batch=1).dtype
    images = Tensor(shape=[None, *deployment.shape], dtype=dtype)
    with TemporaryDirectory(dir=path.parent) as directory, plain(Path(directory)) as folder:
        raw = folder / "raw.mindir"
        mindspore.export(deployment.graph(), images, file_name=str(raw), file_format="MINDIR")
        if not raw.is_file():
            raise ExportError(
                "MINDIR: above 1 GB MindSpore splits a network into several files, which no bundle "
                "takes; write ONNX, which may have any size"
            )
        model = mind_ir_pb2.ModelProto.FromString(raw.read_bytes())
    _make_regular(model, deployment.output)
    path.write_bytes(model.SerializeToString(deterministic=True))


def write_air(deployment: Deployment, path: Path) -> None:
    """Write AIR, the format of the Ascend toolchain before MindSpore Lite, for one image.

    Raises what MindSpore raises on any device but Ascend; `ExportConfig` refuses that earlier.
    """
    example = deployment.example(batch=1)
    with plain(path.parent) as folder:
        name = str(folder / path.name)
        mindspore.export(deployment.graph(), example, file_name=name, file_format="AIR")


def runner(path: Path, batch: int) -> Callable[[NDArray[np.generic]], NDArray[np.float32]]:
    """Return a function that runs the file in MindSpore, `batch` images at once."""
    return predictor(nn.GraphCell(mindspore.load(str(path))), batch)


def device() -> str:
    """Return the device that MindSpore uses: cpu, gpu, ascend."""
    return str(mindspore.get_context("device_target")).lower()


def _make_regular(model: mind_ir_pb2.ModelProto, output: str) -> None:
    """Name values by position, order primitives by name, drop the time from the phase's name."""
    graph = model.graph
    graph.name = "deployment"
    names = dict(_names(graph, output))
    for value in (*graph.parameter, *graph.input, *graph.output):
        value.name = names[value.name]
    for node in graph.node:
        node.name = names.get(node.name, node.name)
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names[name] for name in node.output]
    primitives = sorted(model.primitives, key=lambda primitive: primitive.name)
    del model.primitives[:]
    model.primitives.extend(primitives)
    for attribute in graph.attribute:
        if attribute.name == "compile_phase":
            attribute.s = b"export"


def _names(graph: mind_ir_pb2.GraphProto, output: str) -> Iterable[tuple[str, str]]:
    """Yield (old, new) name of every value of the graph."""
    yield from ((value.name, value.name.rpartition(":")[2]) for value in graph.parameter)
    yield from ((name, str(i)) for i, node in enumerate(graph.node) for name in node.output)
    yield from ((value.name, INPUT) for value in graph.input)
    yield from ((value.name, output) for value in graph.output)
