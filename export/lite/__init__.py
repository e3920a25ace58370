"""ONNX file of a bundle -> MindSpore Lite file, in a copy of the bundle; needs no mindspore."""
