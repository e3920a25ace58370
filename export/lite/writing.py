"""The converter of MindSpore Lite, run in the interpreter that has it."""

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from bundle.manifest import Conversion, ModelFile, Precision, PrecisionMode
from bundle.store import Bundle, sha256
from export.errors import ExportError
from export.lite import ascend
from export.lite.canonical import sort_primitives
from export.lite.config import ConvertConfig
from export.original import TOLERANCES

CONVERTER = Path(__file__).with_name("converter.py").resolve()

logger = logging.getLogger(__name__)


def write(bundle: Bundle, source: ModelFile, root: Path, config: ConvertConfig) -> ModelFile:
    """Convert a file of a bundle into the bundle to be at `root`.

    Returns:
        What the manifest will state; of a reduced precision the tolerance is yet to be measured.

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
    return mode, ascend.PRECISIONS[mode]


def _settings(
    bundle: Bundle, gears: list[int], mode: PrecisionMode, config: ConvertConfig, scratch: Path
) -> dict[str, object]:
    if config.device == "cpu":
        # No shape: kernels of the 2.0.0 runtime keep the batch that a file was converted for. Below
        # it they cost as much as it does, above it they write past the end of their memory.
        return {"optimize": "general"}
    name, crop = bundle.manifest.input.name, bundle.manifest.transform.crop
    image = [crop.height, crop.width, 3]
    file = scratch / "converter.cfg"
    file.write_text(ascend.config_text(name, image, gears, mode))
    settings: dict[str, object] = {
        "optimize": ascend.optimize(config.soc),
        "config_file": str(file),
    }
    return settings | ({"input_shape": {name: [*gears, *image]}} if len(gears) == 1 else {})


def _run(
    python: Path, bundle: Bundle, source: ModelFile, here: Path, settings: dict[str, object]
) -> str:
    """Run the converter in its interpreter; return the version of MindSpore Lite."""
    model = (bundle.path / source.path).resolve()
    settings = {"model": str(model), "output": str(here / "converted"), **settings}
    command = [str(python.absolute()), str(CONVERTER), json.dumps(settings)]
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
