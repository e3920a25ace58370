"""The engine: image jobs from admission to answer, without gRPC, HTTP or a runtime."""
