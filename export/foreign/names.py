"""Names of a foreign model, out of the way of those of the graph around it."""

from collections.abc import Iterable

from onnx import GraphProto, ModelProto, NodeProto

from export.foreign.file import bodies

PREFIX = "model/"


def prefix(model: ModelProto) -> None:
    """Put `PREFIX` before every name of the model, in place.

    Like `onnx.compose.add_prefix`, which forgets what the body of an If, Loop or Scan takes from
    the graph around it. Without exception: then a body's names are right, whatever graph they come
    from. Values in a function are its own; only the functions themselves are renamed.
    """
    functions = {(function.domain, function.name) for function in model.functions}
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        _prefix_calls(nodes, functions)
    for function in model.functions:
        function.name = PREFIX + function.name
    _prefix_graph(model.graph)


def _prefix_calls(nodes: Iterable[NodeProto], functions: set[tuple[str, str]]) -> None:
    for node in nodes:
        if (node.domain, node.op_type) in functions:
            node.op_type = PREFIX + node.op_type
        for body in bodies(node):
            _prefix_calls(body.node, functions)


def _prefix_graph(graph: GraphProto) -> None:
    for node in graph.node:
        node.name = _prefixed(node.name)
        node.input[:] = map(_prefixed, node.input)
        node.output[:] = map(_prefixed, node.output)
        for body in bodies(node):
            _prefix_graph(body)
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = _prefixed(value.name)
    sparse = (part for s in graph.sparse_initializer for part in (s.values, s.indices))
    for tensor in (*graph.initializer, *sparse):
        tensor.name = _prefixed(tensor.name)


def _prefixed(name: str) -> str:
    """Return the name with the prefix; an empty one stands for an input that is left out."""
    return PREFIX + name if name else ""
