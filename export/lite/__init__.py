"""A bundle's ONNX file for MindSpore Lite, in a copy of the bundle; needs no mindspore."""
