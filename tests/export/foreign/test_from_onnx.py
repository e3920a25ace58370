"""Foreign ONNX files become bundles that answer as the files did."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto
from prometheus_client import CollectorRegistry

from bundle.golden import prove_pixels, prove_probabilities
from bundle.manifest import MANIFEST, Normalization
from bundle.stamp import stamp
from bundle.store import Bundle
from export.__main__ import main
from export.parity import open_runner
from serving.backends.ort.library import onnxruntime
from serving.config import ServingConfig
from serving.errors import StartupError
from serving.loading import load_model
from serving.metrics import Metrics
from tests.export.foreign import models
from tests.export.foreign.models import CLASSES, SIDE

SIZE = {"height": SIDE, "width": SIDE}
PLAIN = {"mean": [0, 0, 0], "std": [1, 1, 1]}
COLOURED = {"mean": [120, 110, 100], "std": [50, 60, 70]}
KINDS: dict[str, tuple[Callable[[], ModelProto], str, dict[str, list[int]]]] = {
    "fixed_batch": (models.fixed_batch, "logits", COLOURED),
    "channels_last": (models.channels_last_with_softmax, "probabilities", COLOURED),
    "bytes_in": (models.bytes_in, "logits", PLAIN),
    "half_precision": (models.half_precision, "logits", COLOURED),
    "stuck_batch": (models.stuck_batch, "logits", COLOURED),
}


class Wrapping:
    """A folder with a model, its labels and its transform; `run` wraps it."""

    def __init__(
        self, folder: Path, built: ModelProto, normalization: dict[str, list[int]]
    ) -> None:
        self.folder, self.model = folder, folder / "foreign.onnx"
        onnx.save(built, self.model)
        (folder / "labels.txt").write_text("".join(f"label {i}\n" for i in range(CLASSES)))
        transform = {"resize": {"kind": "stretch", **SIZE}, "crop": SIZE}
        content = {"transform": transform, "normalization": normalization}
        (folder / "transform.json").write_text(json.dumps(content))

    def run(
        self, kind: str, transform: str | Path | None = None, *flags: str, named: bool = True
    ) -> int:
        return main(
            [
                *("from-onnx", str(self.model), "--version", "7"),
                *(("--name", "foreign") if named else ()),
                *("--labels", str(self.folder / "labels.txt"), "--output", str(self.folder)),
                *("--transform", str(transform or self.folder / "transform.json")),
                *("--output-kind", kind, *flags),
            ]
        )

    @property
    def bundle(self) -> Bundle:
        return Bundle.open(self.folder / "foreign/7")


def test_a_manifest_states_a_transform(tmp_path: Path) -> None:
    wrapping = Wrapping(tmp_path, models.fixed_batch(), COLOURED)
    assert wrapping.run("logits") == 0
    stated = wrapping.bundle
    manifest = shutil.copy(stated.path / MANIFEST, tmp_path / "manifest.json")
    assert wrapping.run("logits", manifest, "--overwrite") == 0
    assert wrapping.bundle.manifest.transform == stated.manifest.transform
    assert wrapping.bundle.manifest.normalization == Normalization.model_validate(COLOURED)


@pytest.mark.parametrize("name", KINDS)
def test_a_foreign_model_becomes_a_bundle(name: str, tmp_path: Path) -> None:
    build, kind, normalization = KINDS[name]
    wrapping = Wrapping(tmp_path, build(), normalization)
    assert wrapping.run(kind) == 0
    bundle = wrapping.bundle
    golden, pixels = prove_pixels(bundle)
    answers = np.array([image.probabilities for image in golden.images])
    assert np.ptp(answers, axis=0).max() > 0.05, "equal answers would prove nothing"
    [file] = bundle.manifest.files
    runner = open_runner(bundle.path, bundle.manifest, file, "cpu")
    assert prove_probabilities(bundle, file, golden, pixels, runner.predict, runner.runtime) < 1e-5


def test_a_model_out_of_a_bundle_is_stamped_anew(tmp_path: Path) -> None:
    stamped = models.fixed_batch()
    onnx.helper.set_model_props(stamped, {"bundle.precision": "int8", "maker": "somebody"})
    wrapping = Wrapping(tmp_path, stamped, COLOURED)
    assert wrapping.run("logits") == 0
    written = onnx.load(wrapping.bundle.path / "model_fp32.onnx")
    onnx.checker.check_model(written, full_check=True)
    found = {entry.key: entry.value for entry in written.metadata_props}
    assert found == {"maker": "somebody"} | stamp(wrapping.bundle.manifest, "fp32")


@pytest.mark.parametrize(
    ("name", "buckets", "precision"),
    [
        ("fixed_batch", [1, 2, 4, 8, 16, 32], "fp32"),
        ("half_precision", [1, 2, 4, 8, 16, 32], "fp16"),
        ("stuck_batch", [2], "fp32"),
    ],
)
def test_a_fixed_batch_is_freed_where_it_can_be(
    name: str, buckets: list[int], precision: str, tmp_path: Path
) -> None:
    build, kind, normalization = KINDS[name]
    wrapping = Wrapping(tmp_path, build(), normalization)
    assert wrapping.run(kind) == 0
    [file] = wrapping.bundle.manifest.files
    assert (file.buckets, file.precision) == (buckets, precision)
    session = onnxruntime.InferenceSession(wrapping.bundle.path / file.path)
    [images] = session.get_inputs()
    assert (images.type, images.shape[1:]) == ("tensor(uint8)", [SIDE, SIDE, 3])
    assert isinstance(images.shape[0], int) == (buckets == [2])


def test_a_bundle_of_a_fixed_batch_can_be_served(tmp_path: Path) -> None:
    build, kind, normalization = KINDS["stuck_batch"]
    wrapping = Wrapping(tmp_path, build(), normalization)
    assert wrapping.run(kind) == 0
    path = wrapping.bundle.path
    model = load_model(path, ServingConfig(model=[path]), Metrics(CollectorRegistry()))
    assert model.ready
    model.close()
    other = ServingConfig(model=[path], buckets=(1, 2))
    with pytest.raises(StartupError, match=r"batches of 2 and no others, .*: leave --buckets out"):
        load_model(path, other, Metrics(CollectorRegistry()))


def test_golden_probabilities_are_those_of_the_file_as_it_came(tmp_path: Path) -> None:
    wrapping = Wrapping(tmp_path, models.fixed_batch(), COLOURED)
    assert wrapping.run("logits") == 0
    golden, pixels = prove_pixels(wrapping.bundle)
    session = onnxruntime.InferenceSession(wrapping.model)
    for image, photo in zip(golden.images, pixels, strict=True):
        normal = (photo - np.array([120, 110, 100])) / np.array([50, 60, 70])
        batch = normal.transpose(2, 0, 1)[None].astype(np.float32)
        logits = session.run(None, {"images": batch})[0][0].astype(float)
        expected = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(image.probabilities, expected, atol=1e-6)


def test_external_data_is_taken_along(tmp_path: Path) -> None:
    wrapping = Wrapping(tmp_path, models.fixed_batch(), COLOURED)
    models.save_with_external_data(models.fixed_batch(), wrapping.model)
    assert wrapping.run("logits") == 0
    (tmp_path / "weights.bin").unlink()
    bundle = wrapping.bundle
    golden, pixels = prove_pixels(bundle)
    [file] = bundle.manifest.files
    runner = open_runner(bundle.path, bundle.manifest, file, "cpu")
    prove_probabilities(bundle, file, golden, pixels, runner.predict, runner.runtime)


@pytest.mark.parametrize(
    ("name", "kind", "hint"),
    [
        ("channels_last", "logits", "and sum to 1, so they are probabilities"),
        ("fixed_batch", "probabilities", "so they are logits"),
    ],
)
def test_the_wrong_kind_of_output_is_noticed(
    name: str, kind: str, hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build, _, normalization = KINDS[name]
    assert Wrapping(tmp_path, build(), normalization).run(kind) == 1
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("build", "hint"),
    [
        (models.half_dynamic, "takes any batch, but 10 images do not give 10 answers; export it"),
        (models.mixed_batch, r"10 images do not give 10 answers; .*has shape \(1, 4\)"),
        (models.old_opset, "is of opset 6; the graph around it needs 7 or newer"),
    ],
)
def test_a_model_that_cannot_run_is_told_what_would(
    build: Callable[[], ModelProto], hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Wrapping(tmp_path, build(), COLOURED).run("logits") == 1
    assert re.search(hint, " ".join(capsys.readouterr().err.split()))


@pytest.mark.parametrize("batch", [4, "n"])
def test_a_model_that_mixes_the_images_of_a_batch_is_refused(
    batch: int | str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Wrapping(tmp_path, models.batch_statistics(batch), COLOURED).run("logits") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "foreign.onnx: the model mixes the images of a batch: the probabilities of" in said
    assert "export it in evaluation mode" in said
    assert not (tmp_path / "foreign").exists()


def test_another_image_size_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Wrapping(tmp_path, models.fixed_batch(), COLOURED).run("logits", "imagenet") == 1
    assert (
        "takes images of 16 x 16, but the transform crops to 224 x 224" in capsys.readouterr().err
    )


def test_bytes_are_not_normalised_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Wrapping(tmp_path, models.bytes_in(), COLOURED).run("logits") == 1
    assert "--transform must state mean 0, 0, 0 and std 1, 1, 1" in capsys.readouterr().err


def test_labels_must_be_as_many_as_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrapping = Wrapping(tmp_path, models.fixed_batch(), COLOURED)
    (tmp_path / "labels.txt").write_text("one\ntwo\n")
    assert wrapping.run("logits") == 1
    assert "the model has 4 classes, --labels names 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "hint"),
    [
        (lambda w: w.model.write_bytes(b"no model"), "is not a readable ONNX file"),
        (lambda w: w.model.unlink(), "is not a readable ONNX file"),
        (lambda w: (w.folder / "labels.txt").write_text("a\n\nb\n"), "line 2 is empty"),
        (lambda w: (w.folder / "labels.txt").unlink(), "cannot be read"),
        (lambda w: (w.folder / "transform.json").write_text("{}"), "Field required"),
        (lambda w: (w.folder / "transform.json").unlink(), "neither `imagenet` nor a readable"),
    ],
)
def test_files_that_cannot_be_used_are_named(
    spoil: Callable[[Wrapping], object],
    hint: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wrapping = Wrapping(tmp_path, models.fixed_batch(), COLOURED)
    spoil(wrapping)
    assert wrapping.run("logits") == 1
    assert hint in capsys.readouterr().err
    assert not (tmp_path / "foreign/7").exists()


def test_a_wrong_flag_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Wrapping(tmp_path, models.fixed_batch(), COLOURED).run("logit") == 2
    assert (
        "--output-kind: Input should be 'logits', 'probabilities', 'binary', "
        in capsys.readouterr().err
    )
