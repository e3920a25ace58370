"""`--graph bare`: the network alone, normalised floats to logits, for a pipeline of one's own."""

from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor

from bundle.store import Bundle, sha256
from export.__main__ import main
from export.bare import KINDS, Kind, normalized
from export.bare_record import BareParity
from images.transform import Pixels
from serving.backends.ort.library import onnxruntime
from tests.support.checkpoints import NORMALIZATION, write_checkpoint
from training.checkpoint.checkpoints import load_network

LABELS = ["ant", "bee", "cat"]
FILES = ["net.mindir", "net.onnx", "net.parity.json"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "best.ckpt", labels=LABELS)


@pytest.fixture(scope="module")
def written(checkpoint: Path, animals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the network alone, in both formats."""
    output = tmp_path_factory.mktemp("written") / "networks"
    more = ("--file-format", "ONNX,MINDIR", "--images", animals)
    assert bare(checkpoint, output, *more) == 0
    return output


def bare(checkpoint: Path, output: Path, *more: str | Path) -> int:
    flags = ("--ckpt-file", checkpoint, "--graph", "bare", "--output", output)
    return main([*map(str, flags), "--file-name", "net", *map(str, more)])


def record(folder: Path) -> BareParity:
    return BareParity.model_validate_json((folder / "net.parity.json").read_bytes())


def test_there_is_no_bundle(written: Path) -> None:
    assert sorted(path.name for path in written.iterdir()) == FILES
    assert {path.stat().st_mode & 0o777 for path in written.iterdir()} == {0o644}


def test_the_files_give_the_checkpoints_logits(
    written: Path, checkpoint: Path, pixels: Pixels
) -> None:
    """Normalised by whoever has a pipeline, here in float64."""
    normal = (pixels - np.array(NORMALIZATION.mean)) / np.array(NORMALIZATION.std)
    floats = np.ascontiguousarray(normal.transpose(0, 3, 1, 2), np.float32)
    np.testing.assert_allclose(normalized(pixels, NORMALIZATION), floats, atol=1e-6)
    expected = load_network(checkpoint)[0].set_train(False)(Tensor(floats)).asnumpy()
    assert np.abs(expected.sum(axis=1) - 1).min() > 0.1, "logits, not probabilities"
    session = onnxruntime.InferenceSession(written / "net.onnx")
    [taken], [given] = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.type, taken.shape) == (
        "images", "tensor(float)", ["batch", 3, 28, 28],
    )  # fmt: skip
    assert (given.name, given.type, given.shape) == ("logits", "tensor(float)", ["batch", 3])
    for count in (1, 5):
        [logits] = session.run(None, {"images": floats[:count]})
        np.testing.assert_allclose(logits, expected[:count], atol=1e-5)
    again = KINDS["MINDIR"].open(written / "net.mindir")(floats)
    np.testing.assert_allclose(again, expected, atol=1e-5)


def test_the_record_is_a_proof(written: Path, checkpoint: Path) -> None:
    parity = record(written)
    assert (parity.labels, parity.images, parity.normalization) == (LABELS, 12, NORMALIZATION)
    assert parity.checkpoint_sha256 == sha256(checkpoint)
    assert [(file.path, file.runtime) for file in parity.files] == [
        ("net.onnx", "onnxruntime"),
        ("net.mindir", "mindspore"),
    ]
    for file in parity.files:
        assert file.sha256 == sha256(written / file.path)
        assert file.largest_difference < file.tolerance / 10
        assert file.top1_agreement == 12


def test_a_bundle_can_be_made_of_it(written: Path, animals: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    flags = ("--labels", tmp_path / "labels.txt", "--transform", written / "net.parity.json")
    more = ("--output-kind", "logits", "--images", animals, "--output", tmp_path)
    command = ("from-onnx", written / "net.onnx", *flags, *more)
    assert main([*map(str, command)]) == 0
    assert Bundle.open(tmp_path / "net/1").manifest.normalization == NORMALIZATION


def test_a_file_that_answers_otherwise_is_not_left(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kind = KINDS["ONNX"]

    def opened(path: Path) -> object:
        run = kind.open(path)
        return lambda images: run(images) * np.float32(1.001)

    monkeypatch.setitem(KINDS, "ONNX", Kind(kind.write, opened, kind.runtime))  # type: ignore[arg-type]
    assert bare(checkpoint, tmp_path) == 1
    assert "net.onnx: a logit differs by" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_kept(
    written: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = record(written)
    assert bare(checkpoint, written) == 1
    assert "net.onnx exists; choose another --file-name, or replace it" in capsys.readouterr().err
    assert record(written) == before
    assert bare(checkpoint, written, "--overwrite") == 0
    assert record(written).dataset == "synthetic"
    assert "input     images float32 ['batch', 3, 28, 28]: RGB," in capsys.readouterr().out
    (written / "net.parity.json").write_text(before.model_dump_json())


@pytest.mark.parametrize(
    ("flags", "hint"),
    [
        (("--name", "x", "--version", "2"), "--name, --version: of a bundle only; --graph bare wr"),
        (("--batch-size", "4"), "--batch-size: of a bundle only"),
        (("--precision", "fp32,fp16"), "--graph bare is float32: leave --precision out"),
        (("--file-format", "AIR", "--device-target", "Ascend"), "nothing can do with AIR"),
        (("--graph", "naked"), "--graph: Input should be 'deployment' or 'bare'"),
    ],
)
def test_what_makes_no_sense_with_it_is_refused(
    flags: tuple[str, ...], hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bare(tmp_path / "x.ckpt", tmp_path, *flags) == 2
    assert hint in capsys.readouterr().err


def test_it_is_of_checkpoints_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["from-onnx", "model.onnx", "--graph", "bare"]) == 2
    assert "--graph" in capsys.readouterr().err
