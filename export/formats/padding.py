"""Zeros that are padded in front of a max-pool, padded by the max-pool itself: a node less."""

from collections.abc import Sequence

from onnx import GraphProto, NodeProto, helper, numpy_helper


def merge_padding(graph: GraphProto) -> None:
    """Let every max-pool pad by itself where zeros are padded behind a ReLU, in place.

    ONNX's max-pool pads with what is below every number. Nothing behind a ReLU is below zero, so
    the largest value of a window with a pixel in it is the same. The graph is MindSpore's: sizes
    are Constant nodes, and the max-pool, which pads nothing yet, is of images (batch, channels,
    height, width).
    """
    producers = {name: node for node in graph.node for name in node.output}
    for pool in [node for node in graph.node if node.op_type == "MaxPool"]:
        pad = producers[pool.input[0]]
        if pad.op_type == "Pad" and producers[pad.input[0]].op_type == "Relu":
            _pad_within(pool, _ints(producers[pad.input[1]]))
            pool.input[0] = pad.input[0]
            graph.node.remove(pad)
    used = {name for node in graph.node for name in node.input}
    for node in [n for n in graph.node if n.op_type == "Constant" and n.output[0] not in used]:
        graph.node.remove(node)


def _pad_within(pool: NodeProto, pads: Sequence[int]) -> None:
    """Give a max-pool the pads of height and width; all that begin come before all that end."""
    [automatic] = [a for a in pool.attribute if a.name == "auto_pad"]
    pool.attribute.remove(automatic)
    pool.attribute.append(helper.make_attribute("pads", [*pads[2:4], *pads[6:8]]))


def _ints(constant: NodeProto) -> list[int]:
    value = next(a.t for a in constant.attribute if a.name == "value")
    return [int(number) for number in numpy_helper.to_array(value)]
