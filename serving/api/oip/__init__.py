"""The Open Inference Protocol, version 2: tensors <-> engine, for gRPC and HTTP alike."""
