"""The libraries that a bundle was made with."""

import platform
from importlib.metadata import version

LIBRARIES = (
    "mindspore",
    "numpy",
    "onnx",
    "onnxruntime",
    "opencv-python-headless",
    "pillow",
    "simplejpeg",
)


def versions() -> dict[str, str]:
    """Return the versions of Python and of every library that touches pixels or weights."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}
