"""Small models in the text form of onnx: logits are the means of channels, times weights."""

import numpy as np
import onnx.parser
from onnx import ModelProto, numpy_helper

from tests.export.foreign.models import CLASSES, DENSE, SIDE

WEIGHTS = {"three": DENSE[:3] * 4, "one": DENSE[:1] * 4}
MEANS = "means = ReduceMean <axes = [2, 3], keepdims = 0> (pixels)"
PIXELS, LOGITS = f"float[n, 3, {SIDE}, {SIDE}] pixels", f"float[n, {CLASSES}] logits"
END = "logits = MatMul (means, three)"


def parsed(
    body: str = f"{MEANS} {END}",
    given: str = PIXELS,
    gives: str = LOGITS,
    opset: int = 17,
    more: str = "",
) -> ModelProto:
    """Return the model with these nodes; `more` follows its graph."""
    domains = f'"" : {opset}, "mine" : 1'
    head = f"<ir_version: 8, opset_import: [{domains}]> graph ({given}) => ({gives})"
    model = onnx.parser.parse_model(f"{head} {{ {body} }} {more}")
    for name, values in ((n, v) for n, v in WEIGHTS.items() if n in body):
        model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
    return model
