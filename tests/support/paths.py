"""Where the tests find things."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "models/fashion_resnext/1"
SAMPLES = ROOT / "examples/images"
FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
CHROMIUM = Path("/usr/bin/chromium")
