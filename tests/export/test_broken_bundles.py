"""Bundles spoiled in every way that we know of: none of them gets past a server's proof.

Each is tried plain, and resealed: with every digest made right again.
"""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bundle.golden import pixels_digest, read_golden
from bundle.manifest import MANIFEST
from bundle.store import Bundle, BundleError
from images.transform import ShorterSide, Size, Stretch
from serving.backends.devices import Device
from serving.backends.settings import DEFAULTS
from serving.errors import StartupError
from serving.loader import Loader
from tests.support.bundles import reseal
from tests.support.checkpoints import NORMALIZATION

Spoil = Callable[[Path], None]
ONNX, MINDIR = "model_fp32.onnx", "model_fp32.mindir"


def start(path: Path) -> None:
    """Do what a server does before it is ready, with every ONNX file."""
    bundle = Bundle.open(path)
    for file in bundle.manifest.files:
        if file.format == "onnx":
            Loader(bundle, file, file.buckets, DEFAULTS).open(Device("cpu"), 1)


def in_json(name: str, change: Callable[[dict[str, Any]], None]) -> Spoil:
    def spoil(path: Path) -> None:
        stated = json.loads((path / name).read_text())
        change(stated)
        (path / name).write_text(json.dumps(stated))

    return spoil


def in_manifest(change: Callable[[dict[str, Any]], None]) -> Spoil:
    return in_json(MANIFEST, change)


def in_golden(change: Callable[[dict[str, Any]], None]) -> Spoil:
    return in_json("golden/golden.json", change)


def tolerate(number: int, tolerance: float) -> Spoil:
    return in_manifest(lambda manifest: manifest["files"][number].update(tolerance=tolerance))


def transform(**changes: object) -> Spoil:
    return in_manifest(lambda manifest: manifest["transform"].update(changes))


def flip(name: str, find: bytes, bit: int = 1) -> Spoil:
    """Flip a bit of the byte after the first occurrence of `find`."""

    def spoil(path: Path) -> None:
        data = bytearray((path / name).read_bytes())
        data[data.index(find) + len(find)] ^= bit
        (path / name).write_bytes(data)

    return spoil


def flip_a_weight(path: Path) -> None:
    """Flip the highest bit of an exponent."""
    [weight] = weights(onnx.load(path / ONNX), lambda name, _: name == "head.fc.weight")
    flip(ONNX, weight.raw_data[:3], 0x40)(path)


def swap_labels(manifest: dict[str, Any]) -> None:
    manifest["labels"][:2] = manifest["labels"][1::-1]


def change_mean_of_the_graph(path: Path) -> None:
    model = onnx.load(path / ONNX)
    [mean] = weights(model, lambda _, value: value.ravel().tolist() == list(NORMALIZATION.mean))
    mean.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(mean) + np.float32(1), mean.name))
    onnx.save(model, path / ONNX)


def weights(model: onnx.ModelProto, wanted: Callable[[str, Any], bool]) -> list[onnx.TensorProto]:
    return [t for t in model.graph.initializer if wanted(t.name, numpy_helper.to_array(t))]


def exchange(one: str, other: str) -> Spoil:
    def spoil(path: Path) -> None:
        (path / one).rename(path / "aside")
        (path / other).rename(path / one)
        (path / "aside").rename(path / other)

    return spoil


def drop(name: str) -> Spoil:
    return lambda path: (path / name).unlink()


# What is spoiled: how, what the seal says of it, and what the proof says once it is resealed.
CASES: dict[str, tuple[Spoil, str, str]] = {
    "a byte of a weight": (
        flip_a_weight,
        r"changed since it was sealed: model_fp32\.onnx",
        r"model_fp32\.onnx(: gave probabilities|: probabilities of golden image .* differ by)",
    ),
    "a byte of the graph": (
        flip(ONNX, b'"\x07Softma'),  # the operator's name in protobuf: tag, length, text
        r"changed since it was sealed: model_fp32\.onnx",
        r"model_fp32\.onnx: ONNX Runtime cannot load it",
    ),
    "a byte of a golden image": (
        flip("golden/ant_0.png", b"IDAT", 0x10),
        r"changed since it was sealed: golden/ant_0\.png",
        r"ant_0\.png: golden image cannot be read",
    ),
    "a byte of a golden digest": (
        flip("golden/golden.json", b'"pixels_sha256": "'),
        r"changed since it was sealed: golden/golden\.json",
        "golden.json is missing or broken|do not give the recorded pixels",
    ),
    "a golden probability": (
        flip("golden/golden.json", b'"probabilities": [\n        0.'),
        r"changed since it was sealed: golden/golden\.json",
        r"probabilities of golden image golden/ant_0\.png differ by",
    ),
    "golden probabilities that are no numbers": (
        in_golden(lambda golden: golden["images"][0].update(probabilities=[math.nan] * 3)),
        r"changed since it was sealed: golden/golden\.json",
        r"images\.0\.probabilities\.0: Input should be a finite number",
    ),
    "answers of int8 that are no numbers": (
        in_golden(lambda golden: golden["files"][0]["probabilities"][0].__setitem__(0, math.nan)),
        r"changed since it was sealed: golden/golden\.json",
        r"files\.0\.probabilities\.0\.0: Input should be a finite number",
    ),
    "answers of int8 that any file gives": (
        in_golden(lambda golden: golden["files"][0].update(tolerance=0.9)),
        r"changed since it was sealed: golden/golden\.json",
        "the int8 answers have a tolerance of 0.9; more than",
    ),
    "no answers of int8": (
        in_golden(lambda golden: golden.update(files=[])),
        r"changed since it was sealed: golden/golden\.json",
        r"model_int8\.onnx: .* golden probabilities are not recorded in onnxruntime may have 0\.02",
    ),
    "a tolerance of all": (
        tolerate(0, 1.0),
        r"changed since it was sealed: manifest\.json",
        r"model_fp32\.onnx: the tolerance is 1; fp32 may be at most 1e-05",
    ),
    "a tolerance without end": (
        tolerate(0, math.inf),
        r"changed since it was sealed: manifest\.json",
        r"files\.0\.tolerance: Input should be",
    ),
    "a tolerance of all for fp16": (
        tolerate(1, 1.0),
        r"changed since it was sealed: manifest\.json",
        r"model_fp16\.onnx: the tolerance is 1; fp16 may be at most 0\.04",
    ),
    "a byte of a label": (
        flip(MANIFEST, b'"be'),
        r"changed since it was sealed: manifest\.json",
        "the manifest's labels is not the one",
    ),
    "no model": (drop(ONNX), r"missing: model_fp32\.onnx", r"model_fp32\.onnx: .* not there"),
    "no golden image": (
        drop("golden/ant_0.png"),
        r"missing: golden/ant_0\.png",
        r"files that are not there: golden/ant_0\.png",
    ),
    "no golden set": (
        drop("golden/golden.json"),
        r"missing: golden/golden\.json",
        r"files that are not there: golden/golden\.json",
    ),
    "no parity": (drop("parity.json"), r"missing: parity\.json", r"not there: parity\.json"),
    "no manifest": (drop(MANIFEST), r"holds no manifest\.json", r"holds no manifest\.json"),
    "one file more": (
        lambda path: (path / "notes.txt").write_text("mine") and None,
        r"not sealed: notes\.txt",
        r"the manifest does not name: notes\.txt",
    ),
    "two labels swapped": (
        in_manifest(swap_labels),
        r"changed since it was sealed: manifest\.json",
        "the manifest's labels is not the one",
    ),
    "another mean in the manifest": (
        in_manifest(lambda manifest: manifest["normalization"].update(mean=[124, 116, 103])),
        r"changed since it was sealed: manifest\.json",
        "the manifest's normalization is not the one",
    ),
    "another mean in the graph": (
        change_mean_of_the_graph,
        r"changed since it was sealed: model_fp32\.onnx",
        r"model_fp32\.onnx: probabilities of golden image .* differ by",
    ),
    "another resize": (
        transform(resize={"kind": "shorter_side", "pixels": 32}),
        r"changed since it was sealed: manifest\.json",
        "the manifest's transform is not the one",
    ),
    "another resize to another size": (
        transform(resize={"kind": "stretch", "height": 33, "width": 33}),
        r"changed since it was sealed: manifest\.json",
        "the manifest's transform is not the one",
    ),
    "another crop": (
        transform(crop={"height": 29, "width": 28}),
        r"changed since it was sealed: manifest\.json",
        r"input shape is .*, but transform, labels and files ask for",
    ),
    "another kernel": (
        transform(kernel="bicubic"),
        r"changed since it was sealed: manifest\.json",
        "the manifest's transform is not the one",
    ),
    "no antialias": (
        transform(antialias=False),
        r"changed since it was sealed: manifest\.json",
        "the manifest's transform is not the one",
    ),
    "ONNX and MINDIR exchanged": (
        exchange(ONNX, MINDIR),
        r"changed since it was sealed: model_fp32\.mindir, model_fp32\.onnx",
        r"model_fp32\.onnx: ONNX Runtime cannot load it",
    ),
    "fp32 and int8 exchanged": (
        exchange(ONNX, "model_int8.onnx"),
        r"changed since it was sealed: model_fp32\.onnx, model_int8\.onnx",
        r"model_fp32\.onnx: the manifest states fp32, but the file was written in int8",
    ),
    "fp16 and int8 exchanged": (
        exchange("model_fp16.onnx", "model_int8.onnx"),
        r"changed since it was sealed: model_fp16\.onnx, model_int8\.onnx",
        r"model_fp16\.onnx: the manifest states fp16, but the file was written in int8",
    ),
}


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    """A bundle to spoil."""
    return shutil.copytree(exported, tmp_path / "tiny/1")


def test_resealing_alone_spoils_nothing(copy: Path) -> None:
    reseal(copy)
    start(copy)


@pytest.mark.parametrize("case", CASES)
def test_a_spoiled_bundle_is_refused(copy: Path, case: str) -> None:
    spoil, told, _ = CASES[case]
    spoil(copy)
    with pytest.raises(BundleError, match=told):
        start(copy)


@pytest.mark.parametrize("case", CASES)
def test_a_spoiled_and_resealed_bundle_is_refused(copy: Path, case: str) -> None:
    spoil, _, told = CASES[case]
    spoil(copy)
    reseal(copy)
    with pytest.raises((BundleError, StartupError), match=told):
        start(copy)


def test_a_better_file_does_not_pass_for_a_reduced_one(copy: Path) -> None:
    shutil.copy(copy / ONNX, copy / "model_fp16.onnx")
    reseal(copy)
    with pytest.raises(BundleError, match="states fp16, but the file was written in fp32"):
        start(copy)


@pytest.mark.parametrize(
    "changes",
    [
        {"resize": ShorterSide(pixels=32)},
        {"resize": Stretch(height=33, width=32)},
        {"resize": Stretch(height=32, width=31)},
        {"crop": Size(height=27, width=28)},
        {"kernel": "bicubic"},
        {"antialias": False},
    ],
    ids=str,
)
def test_every_other_transform_changes_the_golden_pixels(
    exported: Path, changes: dict[str, object]
) -> None:
    golden = read_golden(exported)
    other = golden.transform.model_copy(update=changes)
    changed = [
        image.path
        for image in golden.images
        if pixels_digest(other.decode((exported / image.path).read_bytes())) != image.pixels_sha256
    ]
    assert changed
