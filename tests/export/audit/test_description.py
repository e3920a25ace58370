"""`python -m export inspect`: for people, and as JSON."""

import json
from pathlib import Path

import pytest

from bundle.golden import GoldenSet
from bundle.manifest import Manifest
from bundle.store import Bundle
from export.__main__ import main
from export.parity_record import Parity, read_parity


def test_people_read_what_the_bundle_holds(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(exported)]) == 0
    lines = capsys.readouterr().out.splitlines()
    bundle = Bundle.open(exported)
    told = dict(line.split(maxsplit=1) for line in lines if " " in line.strip())
    assert told["digest"] == bundle.digest
    assert told["architecture"] == "tiny"
    assert told["classes"] == "3: ant, bee, cat"
    assert told["transform"].startswith("stretch to 32 x 32, bilinear, with antialias; centre crop")
    assert told["golden"] == "10 images"
    assert bundle.manifest.accuracy is not None
    assert f"({bundle.manifest.accuracy.top1_correct})" in told["accuracy"]
    scores = read_parity(exported).files[0].scores
    assert scores is not None
    assert "calibration on 100 images" in told["int8"]
    size = (exported / "model_fp32.onnx").stat().st_size
    row = told["model_fp32.onnx"].split()
    assert row[:5] == ["fp32", "onnxruntime", f"{size:,}", "1,2,4", "1e-05"]
    assert row[6:9] == ["12", str(scores.top1_correct), "12"]


def test_programs_read_everything(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(exported), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    bundle = Bundle.open(exported)
    assert (told["path"], told["digest"]) == (str(exported), bundle.digest)
    assert Manifest.model_validate(told["manifest"]) == bundle.manifest
    assert Parity.model_validate(told["parity"]) == read_parity(exported)
    assert len(GoldenSet.model_validate(told["golden"]).images) == 10


def test_what_is_no_bundle_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path)]) == 1
    assert f"error: {tmp_path} is not a bundle" in capsys.readouterr().err
