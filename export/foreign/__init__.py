"""ONNX image classifiers from elsewhere, wrapped into bundles."""
