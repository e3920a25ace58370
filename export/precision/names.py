"""Node names: the graphs of others may lack them, and reports speak of layers by name."""

from collections import Counter

from onnx import GraphProto


def name_nodes(graph: GraphProto) -> None:
    """Name every node without a name of its own after the value that it gives, in place."""
    uses = Counter(node.name for node in graph.node)
    for node in graph.node:
        if not node.name or uses[node.name] > 1:
            node.name = node.output[0]
