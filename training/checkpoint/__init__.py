"""Weights on disk, and whose they are."""
