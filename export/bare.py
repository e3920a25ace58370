"""`--graph bare`: the network alone, for whoever brings a pipeline of their own.

What is written takes float32 (batch, 3, height, width), normalised, and gives logits, as the
upstream's own `export.py` writes it. It is no bundle, and no server loads it.
"""

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bundle.manifest import Normalization, Tensor
from bundle.store import sha256
from export.bare_record import BareFile, BareParity
from export.checkpoint import open_checkpoint
from export.config import ExportConfig
from export.errors import ExportError, ParityError
from export.evaluation_set import HeldImages, ImageSet, open_images, progress
from export.formats import mindir, onnx_file
from export.golden_images import synthetic
from export.graph import Bare, Deployment, predictor
from export.original import FORMATS, INPUT, FileFormat
from export.staging import write_json
from images.transform import Pixels, Transform
from serving.backends.ort.library import onnxruntime

BATCH = 8
# Of the largest logit, or of 1: float32 sums in another order. ResNeXt152-64x4d, of random weights,
# needs a two-hundredth of it in ONNX Runtime.
TOLERANCE = 1e-4

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]

logger = logging.getLogger(__name__)


class Kind(NamedTuple):
    """How files of a format are written, and run."""

    write: Callable[[Deployment, Path], None]
    open: Callable[[Path], Run]
    runtime: str


def _open_onnx(path: Path) -> Run:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        [logits] = session.run(None, {INPUT: images})
        return np.asarray(logits, np.float32)

    return run


KINDS: dict[FileFormat, Kind] = {
    "ONNX": Kind(onnx_file.write, _open_onnx, "onnxruntime"),
    "MINDIR": Kind(mindir.write, partial(mindir.runner, batch=BATCH), "mindspore"),
}


class Exported(NamedTuple):
    """What was written: a folder, the name of the record in it, and the record."""

    folder: Path
    record: str
    parity: BareParity


def export_bare(config: ExportConfig) -> Exported:
    """Write the network in every format asked for, prove each, and put a record beside them.

    Raises:
        ExportError: a file exists already, the folder cannot be written, or a file does not answer
            as the checkpoint does; then nothing was written.
        TrainingError: there is no sound checkpoint, or no usable dataset.
    """
    names = {kind: f"{config.file_name}.{FORMATS[kind]}" for kind in config.formats}
    record = f"{config.file_name}.parity.json"
    _must_be_free(config, [*names.values(), record])
    trained, labels, transform = open_checkpoint(config)
    bare = Bare(trained.net, trained.normalization, transform.crop)
    images = _open_images(config, labels, transform)
    with _written_to(config.output) as scratch:
        expected = _answers(predictor(bare.graph(), BATCH), bare, images, "checkpoint")
        if not np.isfinite(expected).all():
            row = int(np.argwhere(~np.isfinite(expected))[0, 0])
            raise ExportError(f"{images.title(row)}: the checkpoint answers with NaN or infinity")
        files = [_prove(bare, scratch / names[kind], kind, images, expected) for kind in names]
        parity = BareParity(
            architecture=trained.architecture,
            checkpoint_sha256=sha256(config.ckpt_file),
            labels=labels,
            transform=transform,
            normalization=trained.normalization,
            input=Tensor(name=INPUT, dtype="float32", shape=["batch", *bare.shape]),
            output=Tensor(name=bare.output, dtype="float32", shape=["batch", len(labels)]),
            dataset=images.name,
            images=len(images),
            files=files,
        )
        write_json(scratch / record, parity)
    return Exported(config.output, record, parity)


def normalized(pixels: Pixels, normalization: Normalization) -> NDArray[np.float32]:
    """Return what the network takes: uint8 (n, height, width, 3) -> float32 (n, 3, ...)."""
    mean, std = (np.array(of, np.float32) for of in (normalization.mean, normalization.std))
    return np.ascontiguousarray(((pixels - mean) / std).transpose(0, 3, 1, 2))


def _must_be_free(config: ExportConfig, names: list[str]) -> None:
    taken = [config.output / name for name in names if (config.output / name).exists()]
    if taken and not config.overwrite:
        raise ExportError(
            f"{taken[0]} exists; choose another --file-name, or replace it: --overwrite"
        )


def _open_images(config: ExportConfig, labels: list[str], transform: Transform) -> ImageSet:
    if config.images:
        return open_images(config.images, labels, transform)
    return HeldImages("synthetic", np.stack([image.pixels for image in synthetic(transform)]))


@contextmanager
def _written_to(folder: Path) -> Iterator[Path]:
    """Yield a directory whose files move to `folder` if the block succeeds, and else vanish."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(mkdtemp(prefix=".bare-", dir=folder))
    except OSError as error:
        raise ExportError(f"cannot write to {folder}: {error.strerror}; see --output") from error
    try:
        yield scratch
        for path in sorted(scratch.iterdir()):
            path.chmod(0o644)
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _answers(run: Run, bare: Bare, images: ImageSet, what: str) -> NDArray[np.float32]:
    """Return the logits of all images, float32 (n, classes)."""
    batches = progress(images.batches(BATCH), len(images), what)
    return np.concatenate([run(normalized(pixels, bare.normalization)) for pixels in batches])


def _prove(
    bare: Bare, path: Path, kind: FileFormat, images: ImageSet, expected: NDArray[np.float32]
) -> BareFile:
    logger.info("writing %s, and proving it on %d images", path.name, len(images))
    KINDS[kind].write(bare, path)
    actual = _answers(KINDS[kind].open(path), bare, images, path.name)
    differs = float(np.abs(actual.astype(np.float64) - expected).max())
    allowed = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    if not differs <= allowed:
        raise ParityError(
            f"{path.name}: a logit differs by {differs:.3g} from the checkpoint's; {allowed:.3g} "
            f"is allowed, so nothing was written"
        )
    return BareFile(
        path=path.name,
        format=FORMATS[kind],
        sha256=sha256(path),
        runtime=KINDS[kind].runtime,
        largest_difference=differs,
        tolerance=allowed,
        top1_agreement=int((actual.argmax(axis=1) == expected.argmax(axis=1)).sum()),
    )
