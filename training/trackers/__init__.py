"""Where epochs go besides metrics.jsonl: TensorBoard, MLflow or Weights & Biases."""
