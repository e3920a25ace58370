"""Export: a checkpoint or a foreign ONNX file in, a bundle out."""
