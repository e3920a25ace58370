"""Untrained networks: the graph that MindSpore would export, weights that are the same anywhere."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import GraphProto, helper

from benchmarks.models import FULL
from benchmarks.unmerged import write_unmerged
from benchmarks.untrained import onnx_model
from benchmarks.weights import Untrained, network, uniform
from cli.program import UsageError
from export.formats.grouped import merge_groups
from training.architectures import ARCHITECTURES

# Before and behind the network, in a deployment graph.
AROUND = 4, 1
DIGEST = "60a18fe7be1b1fd9fcdc1b3c43cee69e299d29004b427b4c14d11b5d1d12ca3a"
TINY = Untrained(ARCHITECTURES["tiny"], classes=10, head_gain=1.0)


def operators(graph: GraphProto) -> list[tuple[str, dict[str, object], list[list[int]]]]:
    """Return kind, attributes and shapes of weights of every node."""
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    return [
        (
            node.op_type,
            {a.name: helper.get_attribute_value(a) for a in node.attribute},
            [shapes[name] for name in node.input if name in shapes],
        )
        for node in graph.node
    ]


def test_the_graph_is_the_one_that_the_export_writes(tmp_path: Path) -> None:
    from bundle.manifest import IMAGENET
    from export.formats.onnx_file import write
    from export.graph import Deployment
    from images.transform import Size
    from training.resnext import build

    deployment = Deployment(build("tiny", 10).set_train(False), IMAGENET, Size(height=28, width=28))
    write(deployment, tmp_path / "model.onnx")
    exported = operators(onnx.load(tmp_path / "model.onnx").graph)
    ours = onnx_model(TINY, side=28).graph
    merge_groups(ours)
    before, behind = AROUND
    assert operators(ours) == exported[before:-behind]


def test_the_full_network_has_as_many_layers_as_its_name_says() -> None:
    layers = list(network(FULL).layers())
    # 151 in a row and the dense layer, and four on shortcuts.
    assert len([layer for layer in layers if "down_sample" not in layer.name]) == 152
    assert layers[-1].shape == (1000, 2048)
    values = sum(np.prod(p.shape) for p in network(FULL).parameters().values())
    assert 114e6 < values < 116e6


def test_weights_are_the_same_bytes_everywhere() -> None:
    values = uniform(7, (33, 5), 0.25)
    assert values.dtype == np.float32
    assert hashlib.sha256(values.tobytes()).hexdigest() == DIGEST
    many = uniform(8, (1000, 100), 0.25)
    assert abs(float(many.mean())) < 0.005
    assert float(many.std()) == pytest.approx(0.25, rel=0.01)


def test_merged_groups_become_what_they_were(tmp_path: Path) -> None:
    before = onnx_model(TINY, side=28)
    merged = onnx_model(TINY, side=28)
    merge_groups(merged.graph)
    assert operators(merged.graph) != operators(before.graph)
    onnx.save(merged, tmp_path / "merged.onnx")
    again = onnx.load(write_unmerged(tmp_path / "merged.onnx", tmp_path / "unmerged.onnx"))
    assert again.graph == before.graph
    with pytest.raises(UsageError, match="no group of its convolutions is merged"):
        write_unmerged(tmp_path / "unmerged.onnx", tmp_path / "twice.onnx")
