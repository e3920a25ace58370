"""Weights on disk, and the networks that they belong to."""
