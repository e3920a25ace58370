"""A foreign ONNX file, written as a deployment graph."""

from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from bundle.manifest import Normalization
from export.errors import ExportError
from export.foreign.config import OutputKind
from export.foreign.signature import Signature
from export.foreign.wrap import free_batch, wrap
from export.formats import FileFormat
from export.formats.storage import save


@dataclass(frozen=True)
class Wrapping:
    """What to put around the file at `path`; it is read where it is written, and held nowhere.

    `frees` says that a fixed batch becomes dynamic.
    """

    path: Path
    signature: Signature
    normalization: Normalization
    output_kind: OutputKind
    classes: int
    frees: bool = False

    @property
    def batch(self) -> int | None:
        """The only batch size that the deployment graph takes, None where it takes any."""
        return None if self.frees else self.signature.batch

    def write(self, file_format: FileFormat, path: Path) -> None:
        """Write the deployment graph; raise `ExportError` for a format other than ONNX."""
        if file_format != "ONNX":
            raise ExportError(f"a bundle from an ONNX file holds ONNX alone, not {file_format}")
        model = onnx.load(self.path)
        if self.frees:
            free_batch(model.graph, self.signature)
        signature = replace(self.signature, batch=self.batch)
        save(wrap(model, signature, self.normalization, self.output_kind, self.classes), path)
        onnx.checker.check_model(path)
