"""From the original to model files: one per format and, for ONNX, per precision."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bundle.kinds import stored_as
from bundle.manifest import ExternalData, ModelFile, Precision
from bundle.stamp import stamp
from bundle.store import sha256
from export.config import BundleConfig
from export.errors import PrecisionError
from export.evaluation_set import EvaluationSet, ImageSet, Probabilities
from export.failures import told
from export.formats.onnx_model import append_metadata, data_path
from export.original import FORMATS, TOLERANCES, Converted, FileFormat, Original
from export.precision.cost import HeldOut, Quantization
from serving.backends.devices import Device
from serving.backends.hardware import missing

# While ranges are collected, all values between layers are held at once, for two images of
# 224 x 224.
INT8_PIXELS = 1 << 17
INT8_BATCH = 8

logger = logging.getLogger(__name__)


def precisions(original: Original, config: BundleConfig) -> tuple[Precision, ...]:
    """Return the precisions of the ONNX file; raise `PrecisionError` if one is impossible."""
    asked = config.precision or (original.precision,)
    if original.precision != "fp32" and asked != (original.precision,):
        raise PrecisionError(
            f"--precision {','.join(asked)}: the original is {original.precision} already, and "
            f"can be exported only as that; reduced precisions are made from fp32"
        )
    if "int8" in asked and original.precision != "int8" and original.task == "multilabel":
        raise PrecisionError(
            "--precision int8: what it costs is judged by top-1 accuracy, which a multilabel model "
            "does not have; leave int8 out of --precision"
        )
    if "bf16" in asked and (reason := missing("openvino", Device("cpu"), precision="bf16")):
        raise PrecisionError(
            f"--precision bf16: it is measured where the export runs, and {reason}; export on a "
            f"machine that has it, or leave bf16 out of --precision"
        )
    return asked


def convert(
    original: Original,
    config: BundleConfig,
    root: Path,
    images: ImageSet,
    expected: Probabilities,
) -> list[Converted]:
    """Write every format and precision asked for into the bundle at `root`.

    Args:
        original: the model to write.
        config: formats and precisions, the training images for int8, and what int8 may cost.
        root: directory of the new bundle.
        images: the evaluation set.
        expected: the original's answers to it, float32 (n, classes).

    Raises:
        PrecisionError: a precision misses its bound.
    """
    conversion = _Conversion(original, config, root, images, expected)
    return [converted for kind in config.formats for converted in conversion.write(kind)]


@dataclass(frozen=True)
class _Conversion:
    original: Original
    config: BundleConfig
    root: Path
    images: ImageSet
    expected: Probabilities

    def write(self, kind: FileFormat) -> Iterator[Converted]:
        own = self.original.precision
        wanted = precisions(self.original, self.config) if kind == "ONNX" else (own,)
        with TemporaryDirectory(prefix="export-") as scratch:
            paths = {p: self._path(kind, p) for p in wanted if p == stored_as(p)}
            source = paths.get(own, Path(scratch) / "source.onnx")
            logger.info("writing %s", source.name)
            self.original.write(kind, source)
            made = {p: self._reduce(p, source, paths[p]) for p in paths if p != own}
            if kind == "ONNX":
                for precision, path in paths.items():
                    append_metadata(path, stamp(self.original, precision))
            for precision in wanted:
                file = self._describe(paths[stored_as(precision)], kind, precision)
                yield Converted(file, precision != own, *(made.get(precision) or ()))

    def _path(self, kind: FileFormat, precision: Precision) -> Path:
        return self.root / f"{self.config.file_name}_{precision}.{FORMATS[kind]}"

    def _describe(self, path: Path, kind: FileFormat, precision: Precision) -> ModelFile:
        fixed, data = self.original.fixed_batch, data_path(path)
        return ModelFile(
            path=path.name,
            format=FORMATS[kind],
            precision=precision,
            sha256=sha256(path),
            buckets=[fixed] if fixed else self.config.buckets,
            tolerance=TOLERANCES[precision],
            external_data=ExternalData(path=data.name, sha256=sha256(data))
            if data.exists()
            else None,
        )

    def _reduce(
        self, precision: Precision, source: Path, target: Path
    ) -> tuple[Quantization, HeldOut] | None:
        """Write the float32 file `source` in a reduced precision."""
        logger.info("writing %s", target.name)
        with told(f"{precision} cannot be made of this model, leave it out of --precision"):
            if precision == "int8" and self.original.quantize:
                self.original.quantize(source, target)
                return None
            if precision == "int8":
                return self._quantize(source, target)
            from export.precision.fp16 import write_fp16

            write_fp16(source, target)
        return None

    def _quantize(self, source: Path, target: Path) -> tuple[Quantization, HeldOut]:
        from export.precision.int8 import Int8Task, write_int8

        assert isinstance(self.images, EvaluationSet)
        assert self.config.images is not None
        task = Int8Task(
            folder=self.config.images,
            evaluation=self.images,
            first=self.expected.argmax(axis=1),
            max_drop=self.config.max_accuracy_drop,
            batch=self.original.fixed_batch or self._int8_batch(),
        )
        return write_int8(source, target, task)

    def _int8_batch(self) -> int:
        size = self.original.transform.crop
        return max(1, min(INT8_BATCH, INT8_PIXELS // (size.height * size.width)))
