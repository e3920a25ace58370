"""`python -m export verify`: what holds, what does not, and what cannot be run here."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from PIL import Image

from bundle.manifest import MANIFEST
from bundle.store import Bundle, BundleError, sha256
from export.__main__ import main
from export.audit.verification import FileResult, Verification, require, verify
from export.errors import ExportError, VerificationError
from export.parity_record import PARITY, read_parity
from tests.export.conftest import ANIMALS
from tests.export.images import varied
from tests.support.bundles import reseal
from tests.support.paths import ROOT, SHIPPED

ONNX, INT8, MINDIR = "model_fp32.onnx", "model_int8.onnx", "model_fp32.mindir"


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    """A bundle to spoil."""
    return shutil.copytree(exported, tmp_path / "tiny/1")


def edit(path: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((path / name).read_text())
    change(content)
    (path / name).write_text(json.dumps(content))
    reseal(path)


def claim_one_more(scores: dict[str, Any]) -> None:
    scores["top1_correct"] += 1
    scores["class_correct"][0] += 1


def test_every_file_is_proved(exported: Path) -> None:
    verification = verify(exported, "cpu")
    require(verification)
    assert sorted((result.file.path, result.runtime) for result in verification.files) == [
        ("model_fp16.onnx", "onnxruntime cpu"),
        (MINDIR, "mindspore cpu"),
        (ONNX, "onnxruntime cpu"),
        ("model_int8.onnx", "onnxruntime cpu"),
        ("model_int8.onnx", "openvino cpu"),
    ]
    for result in verification.files:
        assert result.golden_difference is not None
        assert result.golden_difference < (1e-5 if result.file.precision == "fp32" else 0.2)
    assert verification.golden_images == 10


def test_the_shipped_bundle_holds() -> None:
    require(verify(SHIPPED, "cpu"))


def test_the_recorded_set_gives_the_recorded_counts(exported: Path, animals: Path) -> None:
    verification = verify(exported, "cpu", animals)
    require(verification)
    assert verification.accuracy is not None
    assert verification.accuracy.is_recorded_set
    assert verification.accuracy.reference == ONNX
    for result in verification.files:
        assert result.measured is not None
        recorded = verification.record.of(result.file.path, result.runtime)
        assert recorded
        scores = result.measured.parity.scores
        assert (recorded.place, recorded.scores) == (result.runtime, scores)


def test_a_claimed_accuracy_is_counted_again(copy: Path, animals: Path) -> None:
    claimed = read_parity(copy).files[0].scores
    assert claimed is not None
    edit(copy, PARITY, lambda parity: claim_one_more(parity["files"][0]["scores"]))
    require(verify(copy, "cpu"))
    counted = rf"{ONNX} in onnxruntime: top1_correct is {claimed.top1_correct} of 12 images, but "
    with pytest.raises(VerificationError, match=counted + rf"{claimed.top1_correct + 1} was"):
        require(verify(copy, "cpu", animals))


def test_other_images_are_measured_but_not_held_against_the_record(
    exported: Path, animals: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(animals, tmp_path / "animals")
    next((other / "test/ant").iterdir()).unlink()
    verification = verify(exported, "cpu", other)
    require(verification)
    assert verification.accuracy is not None
    assert not verification.accuracy.is_recorded_set
    assert verification.files[0].measured is not None


@pytest.fixture
def unseen(animals: Path, tmp_path: Path) -> Path:
    """Two hundred images of the same kind, and none of those that the bundle was measured on."""
    for number, pixels in enumerate(varied(412, 40)[212:]):
        folder = tmp_path / "unseen/test" / ANIMALS[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "unseen"


def test_unseen_images_of_the_same_kind_are_no_failure(exported: Path, unseen: Path) -> None:
    verification = verify(exported, "cpu", unseen)
    require(verification)
    assert verification.accuracy is not None
    assert not verification.accuracy.is_recorded_set
    assert len(verification.accuracy.images) == 200


def test_a_damaged_int8_file_fails(copy: Path, unseen: Path) -> None:
    model = onnx.load(copy / INT8)
    weights = next(t for t in model.graph.initializer if t.name.endswith("fc.weight_quantized"))
    values = onnx.numpy_helper.to_array(weights).copy()
    values[0] //= 2
    weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    onnx.save(model, copy / INT8)
    digest = sha256(copy / INT8)
    edit(copy, MANIFEST, lambda stated: stated["files"][2].update(sha256=digest))
    with pytest.raises(VerificationError, match=r"model_int8\.onnx: probabilities of golden"):
        require(verify(copy, "cpu", unseen))


def test_without_images_it_says_what_is_not_known(
    exported: Path, animals: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(exported)]) == 0
    told = capsys.readouterr().out
    assert (
        "\nnot known: the accuracy, and how far the answers to images other than these 10" in told
    )
    assert main(["verify", str(exported), "--images", str(animals)]) == 0
    assert "not known" not in capsys.readouterr().out


def test_photos_without_classes_are_compared(
    exported: Path, animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for image in (animals / "train").rglob("*.png"):
        shutil.copy(image, photos)
    assert main(["verify", str(exported), "--images", str(photos)]) == 0
    told = capsys.readouterr().out
    assert "images    100 (photos/test): not the recorded set" in told
    assert "accuracy  not known: the images have no true classes" in told


def test_images_of_other_classes_are_refused(exported: Path, animals: Path, tmp_path: Path) -> None:
    other = shutil.copytree(animals, tmp_path / "animals")
    (other / "test/cat").rename(other / "test/cow")
    with pytest.raises(ExportError, match=r"folder 'cow' in .* is not among the model's labels"):
        verify(exported, "cpu", other)


@pytest.mark.parametrize(
    ("name", "change", "hint"),
    [
        (
            MANIFEST,
            lambda manifest: manifest["accuracy"].update(top5_correct=11),
            r"disagree: accuracy is .*top5_correct=11 and .*top5_correct=12",
        ),
        (
            MANIFEST,
            lambda manifest: manifest["files"][0].update(tolerance=9e-6),
            rf"disagree: tolerance of {ONNX} is 9e-06 and 1e-05",
        ),
        (PARITY, lambda parity: parity["files"].pop(), "disagree: files are"),
        (PARITY, lambda parity: parity["checkpoint"].update(top1_correct=12), "adds up"),
        (PARITY, lambda parity: parity.update(images=13), "class_images adds up to 12"),
        (PARITY, lambda parity: parity.pop("dataset"), r"parity\.json is missing or broken"),
    ],
)
def test_what_the_bundle_states_twice_must_be_the_same(
    copy: Path, name: str, change: Callable[[dict[str, Any]], None], hint: str
) -> None:
    edit(copy, name, change)
    with pytest.raises(BundleError, match=hint):
        verify(copy, "cpu")


def test_exchanged_files_are_all_named(copy: Path) -> None:
    (copy / ONNX).rename(copy / "aside")
    (copy / MINDIR).rename(copy / ONNX)
    (copy / "aside").rename(copy / MINDIR)
    reseal(copy)
    with pytest.raises(VerificationError) as caught:
        require(verify(copy, "cpu"))
    assert f"{ONNX}: ONNX Runtime cannot load it" in str(caught.value)
    assert f"{MINDIR}: MindSpore cannot load it" in str(caught.value)


def test_a_bundle_of_which_nothing_runs_is_not_verified(exported: Path) -> None:
    bundle = Bundle.open(exported)
    skipped = [FileResult(file, skipped="no runtime") for file in bundle.manifest.files]
    verification = Verification(bundle, read_parity(exported), 10, None, skipped)
    with pytest.raises(VerificationError, match="nothing on this machine can run any file"):
        require(verification)


def test_mindspore_is_not_needed_for_onnx(exported: Path, animals: Path) -> None:
    """In an environment for serving, that is: with none of the packages of the export."""
    hidden = ("mindspore", "onnx", "matplotlib")
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({hidden}));"
        "from export.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "verify", str(exported), "--images", str(animals)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for line in done.stdout.splitlines() if " " in line.strip()]
    told = dict(line.split(maxsplit=1) for line in lines)
    for path in (ONNX, "model_fp16.onnx", "model_int8.onnx"):
        assert told[path].split()[:3] == ["onnxruntime", "cpu", "holds"]
    assert "not verified here: mindspore is not installed" in told[MINDIR]


def test_the_exit_code_tells(
    exported: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(exported)]) == 0
    assert "golden    10 images: pixels equal" in capsys.readouterr().out
    (copy / ONNX).write_bytes(b"no model")
    assert main(["verify", str(copy)]) == 1
    assert f"error: {copy}: changed since it was sealed: {ONNX}" in capsys.readouterr().err
    reseal(copy)
    assert main(["verify", str(copy)]) == 1
    told = capsys.readouterr()
    assert "does not hold" in told.out
    assert f"error: {ONNX} cannot be proved on cpu" in told.err


def test_a_device_that_cannot_be_is_named(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(exported), "--device", "abacus"]) == 1
    assert "model_int8.onnx cannot be proved on abacus: unknown dev" in capsys.readouterr().err


def test_a_device_that_is_not_there_is_named(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(exported), "--device", "cuda:7"]) == 1
    assert "device cuda:7" in capsys.readouterr().err
