"""Training: images in, checkpoint out."""

import os

# oneDNN falls back to its reference convolution on AVX-512 machines, thirty times slower.
# It reads the variable once, so it must be set before mindspore is imported.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
