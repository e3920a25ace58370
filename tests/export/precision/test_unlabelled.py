"""Photos without classes: golden images, calibration and agreement come from them."""

from pathlib import Path

import numpy as np
import pytest

from bundle.golden import prove_pixels
from bundle.store import Bundle
from export.__main__ import main
from export.evaluation_set import EvaluationSet, open_images
from export.parity_page import PAGE, PICTURE
from export.parity_record import read_parity
from export.precision.int8 import answers
from tests.export.precision.conftest import TRANSFORM
from tests.export.precision.test_bundle import Wrapping
from training.data.datasets import open_dataset

pytestmark = pytest.mark.slow

FLAGS = ("--precision", "fp32,int8", "--max-accuracy-drop", "3")


@pytest.fixture(scope="module")
def photos(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five hundred photos in one folder."""
    folder = tmp_path_factory.mktemp("photos") / "photos"
    folder.mkdir()
    dataset = open_dataset(images, "train")
    for index in range(500):
        (folder / f"{index:03}.png").write_bytes(dataset.encoded(index))
    return folder


@pytest.fixture(scope="module")
def bundle(photos: Path, network: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    wrapping = Wrapping(tmp_path_factory.mktemp("unlabelled"))
    assert main(wrapping.arguments(network, *FLAGS, "--images", photos)) == 0
    return Bundle.open(wrapping.output / "fashion/1")


def test_agreement_is_measured_and_accuracy_not_known(bundle: Bundle) -> None:
    parity = read_parity(bundle.path)
    assert (parity.dataset, parity.images) == ("photos/test", 250)
    assert bundle.manifest.accuracy is None
    assert (parity.checkpoint, parity.class_images) == (None, None)
    assert {file.scores for file in parity.files} == {None}
    fp32, *int8 = parity.files
    assert fp32.top1_agreement == 250
    assert all(242 < file.top1_agreement <= 250 for file in int8)
    page = (bundle.path / PAGE).read_text()
    assert "Accuracy is not known" in page
    assert page.count("not known | not known | not known |") == 1 + len(parity.files)
    assert not (bundle.path / PICTURE).exists()


def test_int8_is_judged_by_agreement(bundle: Bundle, photos: Path, network: Path) -> None:
    quantization = read_parity(bundle.path).files[-1].quantization
    assert quantization
    assert quantization.by_agreement
    assert (quantization.calibration_images, quantization.held_out_images) == (125, 125)
    assert quantization.held_out_fp32_correct == 125
    images = open_images(photos, bundle.manifest.labels, TRANSFORM)
    changed = np.mean(first(network, images) != first(bundle.path / "model_int8.onnx", images))
    assert quantization.accuracy_drop == pytest.approx(100 * changed)


def first(path: Path, images: EvaluationSet) -> np.ndarray:
    return answers(path, images.batches(50), 50).argmax(axis=1)


def test_golden_images_are_photos(bundle: Bundle) -> None:
    golden, pixels = prove_pixels(bundle)
    assert [image.path.split("_")[0] for image in golden.images] == ["golden/photo"] * 10
    assert len({image.tobytes() for image in pixels}) == 10


def test_what_is_told_of_it(
    bundle: Bundle, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(bundle.path), "--images", str(photos)]) == 0
    told = capsys.readouterr().out
    assert "images    250 (photos/test): the recorded set" in told
    assert "accuracy  not known: the images have no true classes" in told
    assert main(["inspect", str(bundle.path)]) == 0
    told = capsys.readouterr().out
    assert "accuracy      not known: no images with true classes at the export" in told
    assert "changes the first class of" in told


def test_too_few_photos_are_refused(
    photos: Path, network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for photo in sorted(photos.iterdir())[:60]:
        (few / photo.name).write_bytes(photo.read_bytes())
    assert main(Wrapping(tmp_path).arguments(network, *FLAGS, "--images", few)) == 1
    told = capsys.readouterr().err
    assert "int8 needs at least 200 training images" in told
    assert "holds 30 (the other 30 photos judge)" in told
