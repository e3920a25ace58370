"""One training step, and what it needs."""
