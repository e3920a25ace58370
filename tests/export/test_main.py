"""`python -m export` as a user runs it, from an untrained checkpoint to a bundle that serves."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle.golden import prove_pixels, prove_probabilities
from bundle.store import Bundle
from export.__main__ import main
from export.parity import open_runner
from export.parity_record import PARITY, Parity
from tests.export.images import varied
from tests.support.checkpoints import write_checkpoint
from tests.support.paths import ROOT

LABELS = ["ant", "bee", "cat"]


def export(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "export", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "best.ckpt", labels=LABELS)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twelve images of three classes."""
    root = tmp_path_factory.mktemp("animals")
    for number, pixels in enumerate(varied(12, 40)):
        folder = root / "test" / LABELS[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def exported(
    checkpoint: Path, images: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """The bundle, and what was printed when it was made."""
    output = tmp_path_factory.mktemp("bundles")
    done = export(
        *("--ckpt-file", checkpoint, "--file-format", "ONNX,MINDIR", "--name", "animals"),
        *("--images", images, "--batch-size", 4, "--output", output),
    )
    assert done.returncode == 0, done.stderr
    return output / "animals/1", done.stdout


@pytest.mark.slow
def test_the_bundle_is_whole(exported: tuple[Path, str]) -> None:
    bundle = Bundle.open(exported[0])
    manifest = bundle.manifest
    assert (manifest.name, manifest.version, manifest.architecture) == ("animals", "1", "tiny")
    assert manifest.labels == LABELS
    assert [(file.format, file.path) for file in manifest.files] == [
        ("onnx", "model_fp32.onnx"),
        ("mindir", "model_fp32.mindir"),
    ]
    assert manifest.files[0].buckets == [1, 2, 4]
    assert manifest.accuracy is not None
    assert (manifest.accuracy.images, manifest.accuracy.top5_correct) == (12, 12)


@pytest.mark.slow
def test_every_file_gives_the_golden_probabilities(exported: tuple[Path, str]) -> None:
    bundle = Bundle.open(exported[0])
    golden, pixels = prove_pixels(bundle)
    answers = np.array([image.probabilities for image in golden.images])
    assert np.ptp(answers, axis=0).max() > 0.01
    for file in bundle.manifest.files:
        runner = open_runner(bundle.path, bundle.manifest, file, "cpu")
        assert (
            prove_probabilities(bundle, file, golden, pixels, runner.predict, runner.runtime) < 1e-5
        )


@pytest.mark.slow
def test_parity_states_every_file(exported: tuple[Path, str]) -> None:
    parity = Parity.model_validate_json((exported[0] / PARITY).read_bytes())
    assert (parity.images, parity.dataset.endswith("/test")) == (12, True)
    assert parity.checkpoint is not None
    assert [(file.runtime, file.top1_agreement) for file in parity.files] == [
        ("onnxruntime", 12),
        ("mindspore", 12),
    ]
    for file in parity.files:
        assert file.scores is not None
        assert file.scores.top1_correct == parity.checkpoint.top1_correct


@pytest.mark.slow
def test_prints_what_to_do_next(exported: tuple[Path, str]) -> None:
    path, printed = exported
    bundle = Bundle.open(path)
    assert f"bundle    {path}" in printed
    assert bundle.digest in printed
    assert f"make serve MODEL={path}" in printed
    assert bundle.manifest.accuracy is not None
    assert f"top-1 {bundle.manifest.accuracy.top1:.2%}" in printed


@pytest.mark.slow
def test_a_second_run_writes_the_same_files_beside_it(
    exported: tuple[Path, str], checkpoint: Path
) -> None:
    first = exported[0]
    done = export(
        *("--ckpt-file", checkpoint, "--file-format", "ONNX,MINDIR", "--name", "animals"),
        *("--output", first.parents[1]),
    )
    assert done.returncode == 0, done.stderr
    assert "\naccuracy  not known: that needs --images with true classes\n" in done.stdout
    second = Bundle.open(first.parent / "2")
    assert second.manifest.accuracy is None
    for file in second.manifest.files:
        assert (second.path / file.path).read_bytes() == (first / file.path).read_bytes()


@pytest.mark.slow
def test_an_existing_version_is_kept(exported: tuple[Path, str], checkpoint: Path) -> None:
    first = exported[0]
    before = Bundle.open(first).digest
    arguments = ("--ckpt-file", checkpoint, "--name", "animals", "--version", 1)
    done = export(*arguments, "--output", first.parents[1])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {first} exists; choose another --version")
    assert Bundle.open(first).digest == before


@pytest.mark.slow
def test_the_folder_may_have_any_letters(checkpoint: Path, animals: Path, tmp_path: Path) -> None:
    """Also where C++ writes and reads: MindSpore, ONNX Runtime and OpenVINO."""
    output = tmp_path / "Größe 'a' \"b\" 模型 %s"
    done = export(
        *("--ckpt-file", checkpoint, "--file-format", "ONNX,MINDIR", "--output", output),
        *("--precision", "fp32,fp16,int8", "--max-accuracy-drop", 50, "--images", animals),
    )
    assert done.returncode == 0, done.stderr
    bundle = output / "tiny/1"
    assert len(Bundle.open(bundle).manifest.files) == 4
    assert f"make serve MODEL={shlex.quote(str(bundle))}\n" in done.stdout
    verified = export("verify", bundle, "--images", animals)
    assert verified.returncode == 0, verified.stderr


def test_other_classes_are_refused(
    checkpoint: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stated = json.loads(checkpoint.with_suffix(".json").read_text())
    stated["labels"][1] = "wasp"
    other = tmp_path / "other.ckpt"
    other.write_bytes(checkpoint.read_bytes())
    other.with_suffix(".json").write_text(json.dumps(stated))
    flags = ("--ckpt-file", other, "--images", images, "--output", tmp_path / "bundles")
    assert main([*map(str, flags)]) == 1
    assert "is not among the model's labels, 'ant', 'wasp', 'cat': each" in capsys.readouterr().err
    assert not list((tmp_path / "bundles").rglob("*.onnx"))


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        (("--ckpt-file", "nowhere.ckpt"), 1, "error: no file nowhere.ckpt"),
        (("--ckpt-file", "x.ckpt", "--file-format", "AIR"), 2, "only on an Ascend NPU, not on CPU"),
        (("--ckpt-file", "x.ckpt", "--file-format", "TFLITE"), 2, "--file-format: Input should be"),
        ((), 2, "--ckpt-file"),
    ],
)
def test_a_wrong_call_is_explained_in_one_line(
    arguments: tuple[str, ...], code: int, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert hint in err


def test_help_needs_no_framework() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "export", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--ckpt-file" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert imported.isdisjoint({"mindspore", "onnx", "onnxruntime", "grpc"})


def test_what_is_not_installed_is_named_with_the_command_that_does(tmp_path: Path) -> None:
    for name in ("model.onnx", "labels.txt", "transform.json"):
        (tmp_path / name).write_text("{}")
    program = "import sys; sys.modules['onnx'] = None; from export.__main__ import main; main()"
    files = ("--labels", tmp_path / "labels.txt", "--transform", tmp_path / "transform.json")
    command = [sys.executable, "-c", program, "from-onnx", tmp_path / "model.onnx", *files]
    command += ["--output-kind", "logits"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.startswith("error: onnx is not installed for ")
    assert "make .venv-demo/.demo" in done.stderr
