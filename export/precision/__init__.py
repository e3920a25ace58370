"""Reduced precisions of an ONNX file: float16, and int8 by static quantisation."""
