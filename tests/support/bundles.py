"""A small, valid, sealed bundle: the deployment graph's form around one matrix product."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from bundle.golden import GOLDEN, GoldenImage, GoldenSet, pixels_digest
from bundle.manifest import MANIFEST, Manifest, ModelFile, Normalization, Task, Tensor
from bundle.stamp import stamp
from bundle.store import contents, seal, sha256
from images.transform import Pixels, Size, Stretch, Transform

LABELS = ["ant", "bee", "cat", "dog", "elk", "fox"]
SIDE = 16
BUCKETS = [1, 2, 4, 8]
TRANSFORM = Transform(resize=Stretch(height=20, width=20), crop=Size(height=SIDE, width=SIDE))
NORMALIZATION = Normalization(mean=(120.0, 110.0, 100.0), std=(60.0, 50.0, 40.0))
WEIGHTS = np.random.default_rng(1).normal(size=(3, len(LABELS))).astype(np.float32)
# A model of these answers the class after the one that a model of the others does.
OTHER_WEIGHTS = np.roll(WEIGHTS, 1, axis=1)


def photo(seed: int, width: int = 40, height: int = 30) -> Image.Image:
    """Return an RGB image that the seed colours."""
    generator = np.random.default_rng(seed)
    noise = generator.integers(0, 60, (height, width, 3)) + generator.integers(0, 196, 3)
    return Image.fromarray(noise.astype(np.uint8))


def probabilities(pixels: Pixels, weights: NDArray[np.float32] = WEIGHTS) -> NDArray[np.float32]:
    """Return what the graph gives for uint8 (n, height, width, 3), worked out with numpy."""
    normal = (pixels.astype(np.float32) - NORMALIZATION.mean) / NORMALIZATION.std
    logits = normal.mean(axis=(1, 2)) @ weights
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def write_bundle(
    root: Path,
    name: str = "tiny",
    version: str = "1",
    weights: NDArray[np.float32] = WEIGHTS,
) -> Path:
    """Write `root/name/version` and return it."""
    path = root / name / version
    (path / "golden").mkdir(parents=True)
    onnx.save(_graph(weights), path / "model.onnx")
    golden = GoldenSet(
        labels=LABELS,
        transform=TRANSFORM,
        normalization=NORMALIZATION,
        images=[_golden_image(path, seed, weights) for seed in range(3)],
    )
    (path / GOLDEN).write_text(golden.model_dump_json())
    write_manifest(path, manifest(path, name, version))
    return path


def write_manifest(path: Path, stated: Manifest) -> None:
    """Write a manifest into a bundle and seal it."""
    (path / MANIFEST).write_text(stated.model_dump_json())
    seal(path)


def reseal(path: Path) -> None:
    """Make all digests of an edited bundle right again, as somebody would who edits one."""
    if (path / MANIFEST).is_file():
        stated = json.loads((path / MANIFEST).read_text())
        parts = [part for file in stated["files"] for part in (file, file.get("external_data"))]
        for part in filter(None, parts):
            if (path / part["path"]).is_file():
                part["sha256"] = sha256(path / part["path"])
        (path / MANIFEST).write_text(json.dumps(stated))
    seal(path)


def copy_bundle(path: Path, root: Path, version: str) -> Path:
    """Copy a bundle into a repository under another version, and return that."""
    stated = json.loads((path / MANIFEST).read_text()) | {"version": version}
    copy = shutil.copytree(path, root / stated["name"] / version)
    (copy / MANIFEST).write_text(json.dumps(stated))
    reseal(copy)
    return copy


def spoil(path: Path) -> None:
    """Change what a bundle's first golden image should give, and make its digests right again."""
    golden = path / GOLDEN
    stated = json.loads(golden.read_text())
    stated["images"][0]["probabilities"] = stated["images"][0]["probabilities"][::-1]
    golden.write_text(json.dumps(stated))
    reseal(path)


def manifest(path: Path, name: str, version: str) -> Manifest:
    """Return the manifest of the bundle at `path`."""
    file = ModelFile(
        path="model.onnx",
        format="onnx",
        precision="fp32",
        sha256=sha256(path / "model.onnx"),
        buckets=BUCKETS,
        tolerance=1e-5,
    )
    return Manifest(
        schema_version=1,
        name=name,
        version=version,
        architecture="mean_and_matrix",
        checkpoint_sha256="0" * 64,
        labels=LABELS,
        transform=TRANSFORM,
        normalization=NORMALIZATION,
        input=Tensor(name="images", dtype="uint8", shape=["batch", SIDE, SIDE, 3]),
        output=Tensor(name="probabilities", dtype="float32", shape=["batch", len(LABELS)]),
        files=[file],
        attachments=sorted({*contents(path)} - {MANIFEST, file.path}),
        accuracy=None,
        revision=None,
        versions={},
    )


def _golden_image(path: Path, seed: int, weights: NDArray[np.float32]) -> GoldenImage:
    name = f"golden/{LABELS[seed]}_{seed}.png"
    photo(seed).save(path / name)
    pixels = TRANSFORM.decode((path / name).read_bytes())
    return GoldenImage(
        path=name,
        pixels_sha256=pixels_digest(pixels),
        probabilities=probabilities(pixels[None], weights)[0].tolist(),
    )


def _graph(weights: NDArray[np.float32]) -> onnx.ModelProto:
    constants = {
        "mean": np.array(NORMALIZATION.mean, np.float32),
        "std": np.array(NORMALIZATION.std, np.float32),
        "weights": weights,
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["float", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["normal"]),
        helper.make_node("ReduceMean", ["normal"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", SIDE, SIDE, 3])],
        [_probabilities_info()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    helper.set_model_props(model, stamp(_Described(), "fp32"))
    return model


class _Described:
    labels, transform, normalization = LABELS, TRANSFORM, NORMALIZATION
    task: Task = "multiclass"


def _probabilities_info() -> onnx.ValueInfoProto:
    shape = ["batch", len(LABELS)]
    return helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, shape)
