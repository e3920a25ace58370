"""Bytes <-> engine: what callers see over gRPC and HTTP."""
