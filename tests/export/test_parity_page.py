"""parity.md and its picture say what parity.json says."""

from pathlib import Path

import pytest
from PIL import Image

from bundle.store import Bundle
from export.evaluation_set import Scores
from export.parity_page import PAGE, PICTURE, write_page
from export.parity_record import Parity, read_parity
from export.report import show_export

LARGEST_PICTURE = 60_000


def page(parity: Parity, labels: list[str], root: Path) -> str:
    write_page(root, parity, labels)
    return (root / PAGE).read_text()


def test_every_file_has_its_row(exported: Path) -> None:
    parity, text = read_parity(exported), (exported / PAGE).read_text()
    assert "on 12 images (" in text
    for file in parity.files:
        assert file.scores is not None
        start = f"| {file.path} | {file.runtime}, "
        [row] = [line for line in text.splitlines() if line.startswith(start)]
        assert f"| {file.top1_agreement} | {file.scores.top1_correct} (" in row
        assert f"{file.largest_difference:.2g}" in row
    assert f"({PICTURE})" in text
    assert "not known" not in text
    assert "What model_int8.onnx is allowed was measured on 122 images: these, the gold" in text
    assert "calibrated nothing; at most 2.4 % of other such images differ by more" in text


def test_the_export_tells_of_how_many_others_a_tolerance_speaks(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show_export(Bundle.open(exported), read_parity(exported))
    told = capsys.readouterr().out
    assert told.count("\nallowed   ") == 2
    assert "allowed   model_int8.onnx: measured on 122 images; at most 2.4 % of other" in told


def test_the_picture_is_small(exported: Path) -> None:
    with Image.open(exported / PICTURE) as picture:
        assert picture.size == (800, 400)
    assert (exported / PICTURE).stat().st_size < LARGEST_PICTURE


def test_a_thousand_classes_fit(exported: Path, tmp_path: Path) -> None:
    labels = [str(index) for index in range(1000)]
    scores = Scores(
        top1_correct=1500, top5_correct=1900, calibration_error=0.1, class_correct=[1, 2] * 500
    )
    parity = read_parity(exported)
    many = parity.model_copy(
        update={
            "images": 2000,
            "class_images": [2] * 1000,
            "checkpoint": scores,
            "files": [file.model_copy(update={"scores": scores}) for file in parity.files],
        }
    )
    assert "1500 (75.00%)" in page(many, labels, tmp_path)
    assert (tmp_path / PICTURE).stat().st_size < LARGEST_PICTURE


def test_without_true_classes_there_is_no_picture(exported: Path, tmp_path: Path) -> None:
    parity = read_parity(exported)
    unlabelled = parity.model_copy(
        update={
            "class_images": None,
            "checkpoint": None,
            "files": [file.model_copy(update={"scores": None}) for file in parity.files],
            "unproved": ["model_fp32.air"],
        }
    )
    text = page(unlabelled, ["ant", "bee", "cat"], tmp_path)
    assert "| model_fp32.air | not proved" in text
    assert "\nAccuracy is not known: the images have no true classes." in text
    original = next(line for line in text.splitlines() if line.startswith("| original "))
    assert original.endswith("| not known | not known | not known |")
    assert PICTURE not in text
    assert not (tmp_path / PICTURE).exists()
