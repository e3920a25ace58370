"""MindSpore Lite's converter, run by the interpreter that has it.

Sources for Ascend: `Converter` of mindspore_lite 2.0 for `optimize`; "Ascend Conversion Tool
Description" of the MindSpore Lite 2.0 documentation (use/cloud_infer/converter_tool_ascend) for the
configuration file.
"""

import json
import logging
import mmap
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from bundle.manifest import Conversion, ModelFile, Precision, PrecisionMode
from bundle.store import Bundle, sha256
from export.errors import ExportError
from export.lite.config import ConvertConfig
from export.original import TOLERANCES

WORKER = Path(__file__).with_name("worker.py").resolve()
# A mode that may compute in float16 gets the tolerance of float16.
PRECISIONS: dict[PrecisionMode, Precision] = {
    "enforce_fp32": "fp32",
    "enforce_origin": "fp32",
    "preferred_fp32": "fp16",
    "preferred_optimal": "fp16",
    "enforce_fp16": "fp16",
}
# `ModelProto.primitives` of mindspore/core/proto/mind_ir.proto. Nodes refer to them by name: their
# order has no meaning. The converter writes them by their addresses, which depend on the number of
# processors, on the length of names, on whether Python had to compile a module.
PRIMITIVES = 12
# Bytes of a value by its wire type, see https://protobuf.dev/programming-guides/encoding/.
FIXED = {1: 8, 5: 4}
VARINT, LENGTH = 0, 2

logger = logging.getLogger(__name__)


def convert_file(bundle: Bundle, source: ModelFile, root: Path, config: ConvertConfig) -> ModelFile:
    """Convert a file of a bundle, into the copy that is being made at `root`.

    Returns:
        The file's entry in the manifest; a reduced precision's tolerance is still to be measured.

    Raises:
        ExportError: the converter fails.
    """
    mode, precision = _arithmetic(config)
    gears = list(config.gears or source.buckets)
    stem = f"{Path(source.path).stem.removesuffix('_fp32')}_{precision}_{config.device}"
    path = root / f"{stem}.mindir"
    logger.info("writing %s", path.name)
    with TemporaryDirectory(prefix="export-") as scratch:
        here = Path(scratch)
        settings = _settings(bundle, gears, mode, config, here)
        version = _run(config.lite_python or Path(sys.executable), bundle, source, here, settings)
        sort_primitives(here / "converted.mindir")
        shutil.move(here / "converted.mindir", path)
    return ModelFile(
        path=path.name,
        format="mindir-lite",
        precision=precision,
        sha256=sha256(path),
        buckets=gears,
        tolerance=TOLERANCES[precision],
        conversion=Conversion(
            device=config.device,
            soc=config.soc,
            precision_mode=mode,
            converter=f"mindspore_lite {version}",
            source_sha256=source.sha256,
        ),
    )


def _arithmetic(config: ConvertConfig) -> tuple[PrecisionMode, Precision]:
    if config.device == "cpu":
        return "enforce_fp32", "fp32"
    mode = config.precision_mode or "enforce_fp16"
    return mode, PRECISIONS[mode]


def _settings(
    bundle: Bundle, gears: list[int], mode: PrecisionMode, config: ConvertConfig, scratch: Path
) -> dict[str, object]:
    if config.device == "cpu":
        # No shape: kernels of the 2.0.0 runtime keep the batch that a file was converted for.
        # Smaller batches cost as much as that one; larger ones write past the end of their memory.
        return {"optimize": "general"}
    name, crop = bundle.manifest.input.name, bundle.manifest.transform.crop
    image = [crop.height, crop.width, 3]
    file = scratch / "converter.cfg"
    file.write_text(config_text(name, image, gears, mode))
    settings: dict[str, object] = {
        "optimize": optimize(config.soc),
        "config_file": str(file),
    }
    return settings | ({"input_shape": {name: [*gears, *image]}} if len(gears) == 1 else {})


def _run(
    python: Path, bundle: Bundle, source: ModelFile, here: Path, settings: dict[str, object]
) -> str:
    """Run the converter in its interpreter; return the version of MindSpore Lite."""
    model = (bundle.path / source.path).resolve()
    settings = {"model": str(model), "output": str(here / "converted"), **settings}
    command = [str(python.absolute()), str(WORKER), json.dumps(settings)]
    try:
        done = subprocess.run(  # noqa: S603 - the interpreter that the operator names
            command, capture_output=True, text=True, check=False, cwd=here
        )
    except OSError as error:
        raise ExportError(f"{python} cannot be run: {error}; see --lite-python") from error
    if done.returncode:
        logger.error("%s", done.stderr)
        raise ExportError(
            f"{python} cannot convert {source.path} for MindSpore Lite (exit code "
            f"{done.returncode}): {done.stderr.strip().rpartition(chr(10))[2]}"
        )
    return done.stdout


def optimize(soc: str | None) -> str:
    """Return `Converter.optimize` for Ascend; only versions after 2.0 take a suffix."""
    return f"ascend_oriented:{soc}" if soc else "ascend_oriented"


def config_text(
    name: str, image: Sequence[int], gears: Sequence[int], precision_mode: PrecisionMode
) -> str:
    """Return the converter's configuration file for Ascend.

    Args:
        name: of the graph's input.
        image: height, width, channels.
        gears: batch sizes that can run; a single one is stated by the graph's shape instead.
        precision_mode: arithmetic of the whole graph.
    """
    lines = ["[ascend_context]"]
    if len(gears) > 1:
        lines.append(f"input_shape={name}:[-1,{','.join(map(str, image))}]")
        lines.append(f"dynamic_dims={','.join(f'[{gear}]' for gear in gears)}")
    lines.append(f"precision_mode={precision_mode}")
    return "\n".join(lines) + "\n"


class Field(NamedTuple):
    """A field of a protobuf message: its number, and where its bytes are, tag included."""

    number: int
    start: int
    end: int


def sort_primitives(path: Path) -> None:
    """Sort a file's primitives in place; raise `ExportError` if it is no protobuf message."""
    path.chmod(0o644)  # the converter makes it read-only
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        try:
            fields = list(_fields(data))
        except (IndexError, KeyError) as error:
            raise ExportError(f"MindSpore Lite wrote no MINDIR to {path.name}") from error
        for number, neighbours in groupby(fields, lambda field: field.number):
            if number == PRIMITIVES:
                _sort(data, list(neighbours))


def _sort(data: mmap.mmap, neighbours: list[Field]) -> None:
    ordered = sorted(data[field.start : field.end] for field in neighbours)
    data[neighbours[0].start : neighbours[-1].end] = b"".join(ordered)


def _fields(data: mmap.mmap) -> Iterator[Field]:
    at = 0
    while at < len(data):
        tag, value = _varint(data, at)
        end = _end(data, tag & 7, value)
        if end > len(data):
            raise IndexError
        yield Field(tag >> 3, at, end)
        at = end


def _end(data: mmap.mmap, wire_type: int, at: int) -> int:
    """Return where the value that begins at `at` ends."""
    if wire_type in FIXED:
        return at + FIXED[wire_type]
    number, end = _varint(data, at)
    return {VARINT: end, LENGTH: end + number}[wire_type]


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    """Return a number and where the next field begins."""
    number = shift = 0
    while data[at] & 0x80:
        number |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return number | data[at] << shift, at + 1
