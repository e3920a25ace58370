"""The training step and its schedule of learning rates."""
