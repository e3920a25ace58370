"""Where a bundle comes from: the revision of this code and the libraries under it."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

LIBRARIES = ("mindspore", "numpy", "onnx", "onnxruntime", "opencv-python-headless", "pillow")


def versions() -> dict[str, str]:
    """Return the versions of Python and of every library that touches pixels or weights."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def revision() -> str | None:
    """Return the commit of this code, with "-dirty" where it was changed; None outside git."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        found = subprocess.run(  # noqa: S603
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
