"""One module per file format that can be written; each imports its own framework."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from bundle.manifest import Format

if TYPE_CHECKING:
    from export.graph import Deployment

INPUT = "images"
OUTPUT = "probabilities"

FileFormat = Literal["ONNX", "MINDIR", "AIR"]
Write = Callable[["Deployment", Path], None]

MODULES: dict[FileFormat, str] = {"ONNX": "onnx_file", "MINDIR": "mindir", "AIR": "air"}
FORMATS: dict[FileFormat, Format] = {"ONNX": "onnx", "MINDIR": "mindir", "AIR": "air"}


def writer(file_format: FileFormat) -> Write:
    """Return the function that writes a deployment to a path in that format."""
    module = import_module(f"export.formats.{MODULES[file_format]}")
    return cast("Write", module.write)
