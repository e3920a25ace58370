"""Answers that are no probabilities are refused, with the name of the image."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.answers import require_probabilities
from export.errors import ExportError
from tests.export.foreign import models
from tests.export.foreign.test_from_onnx import COLOURED, Wrapping


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.1, 1.1])
def test_the_image_and_the_class_are_named(value: float) -> None:
    answers = np.full((3, 4), 0.25, np.float32)
    require_probabilities(answers, str)
    answers[1, 2] = value
    with pytest.raises(ExportError, match=f"^image 1: the model gives class 2 a .* of {value:.3g}"):
        require_probabilities(answers, lambda row: f"image {row}")


def test_an_image_of_the_evaluation_set_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrapping = Wrapping(tmp_path, models.no_number_when_dark(), COLOURED)
    for number in range(models.CLASSES):
        folder = tmp_path / f"images/label {number}"
        folder.mkdir(parents=True)
        for shade in (120, 200):
            Image.new("RGB", (20, 20), (shade, 250 - 10 * number, 90)).save(folder / f"{shade}.png")
    flags = "--images", str(tmp_path / "images")
    assert wrapping.run("logits", None, *flags) == 0
    dark = tmp_path / "images/label 2/300.png"
    Image.new("RGB", (20, 20)).save(dark)
    assert wrapping.run("logits", None, *flags, "--overwrite") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert f"error: {dark}: the model gives class 0 a probability of nan" in said


def test_a_synthetic_image_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrapping = Wrapping(tmp_path, models.no_number_when_dark(threshold=0.5), COLOURED)
    assert wrapping.run("logits") == 1
    assert "the model answers synthetic image " in capsys.readouterr().err
    assert not (tmp_path / "foreign/7").exists()
