"""The real entries, in processes of their own, on real images."""

import json
import re
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.paths import FASHION_MNIST, ROOT
from tests.training.conftest import start
from tests.training.data.test_datasets import image_folder
from training.checkpoint import checkpoints
from training.train import main

ASCEND_DRIVER = Path("/dev/davinci_manager")


class Finished:
    """A smoke run that has ended well: its folder and what it printed."""

    def __init__(self, ckpt_path: Path) -> None:
        arguments = ("--recipe", "smoke", "--train-images", "2560", "--ckpt-path", ckpt_path)
        self.output = finish(start("training.train", *arguments))
        self.folder = ckpt_path / "latest"
        self.best = self.folder / "best_acc.ckpt"


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    output, _ = process.communicate()
    assert process.returncode == code, output
    return output


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return Finished(tmp_path_factory.mktemp("outputs"))


@pytest.mark.slow
def test_it_learns_and_says_so_in_the_upstreams_lines(run: Finished) -> None:
    top1 = re.findall(r"acc=(\d+\.\d\d)%\(TOP1\)", run.output)
    assert float(top1[-1]) > 30
    assert re.search(r"acc=\d+\.\d\d%\(TOP5\)", run.output)
    assert re.search(r"Inference Performance: \d+\.\d\d img/sec", run.output)
    assert "Warning" not in run.output


@pytest.mark.slow
def test_every_epoch_has_a_line_and_the_picture_is_there(run: Finished) -> None:
    lines = (run.folder / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["epoch"] for record in records] == [1, 2]
    assert records[1]["loss"] < records[0]["loss"]
    assert records[1]["top1"] > 0.3
    assert records[0]["lr"] == pytest.approx(0.1)
    assert 0 <= records[1]["data_wait_share"] < 1
    assert np.asarray(Image.open(run.folder / "training.png")).std() > 1
    assert "epoch 2: loss" in (run.folder / "train.log").read_text()


@pytest.mark.slow
def test_the_checkpoint_says_everything(run: Finished) -> None:
    info = checkpoints.load(run.best).info
    assert (info.architecture, info.num_classes, len(info.labels)) == ("tiny", 10, 10)
    assert info.metrics is not None
    assert info.metrics.images == 1000
    assert info.config["seed"] == 1
    assert info.versions["mindspore"] == "2.10.0"
    assert info.normalization.mean == tuple(info.config["mean"])


@pytest.mark.slow
def test_the_upstreams_file_names(run: Finished) -> None:
    assert [path.name for path in (run.folder / "ckpt_0").glob("*.ckpt")] == ["0-2_40.ckpt"]


@pytest.mark.slow
def test_evaluation_of_a_folder_finds_each_accuracy_again(run: Finished, tmp_path: Path) -> None:
    for name in ("first", "second"):
        for suffix in (".ckpt", ".json"):
            shutil.copy(run.best.with_suffix(suffix), tmp_path / f"{name}{suffix}")
    arguments = ("--pretrained", tmp_path, "--data-dir", FASHION_MNIST, "--eval-images", "1000")
    output = finish(start("training.eval", *arguments, "--report-path", tmp_path / "to"))
    metrics = checkpoints.load(run.best).info.metrics
    assert metrics is not None
    assert output.count(f"acc={metrics.top1:.2%}(TOP1)") == 2
    assert len(re.findall(r"before results=\[\[\d+\], \[\d+\], \[1000\]\]", output)) == 2
    reports = sorted(tmp_path.glob("to/*/*.json"))
    assert [report.stem for report in reports] == ["first", "second"]
    for report in reports:
        found = json.loads(report.read_text())
        assert sum(map(sum, found["confusion"])) == 1000
        assert [c["images"] * c["top1"] for c in found["classes"]] == pytest.approx(
            [row[i] for i, row in enumerate(found["confusion"])]
        )
        assert np.asarray(Image.open(report.with_suffix(".png"))).std() > 1


def wait_for_line(process: subprocess.Popen[str], words: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"{words!r} was never printed")


@pytest.mark.slow
def test_an_interrupt_leaves_a_good_checkpoint(tmp_path: Path) -> None:
    endless = ("--max-epoch", "1000", "--train-images", "640", "--ckpt-path", tmp_path)
    process = start("training.train", "--recipe", "smoke", "--eval-images", "100", *endless)
    try:
        wait_for_line(process, "(TOP1)")
        process.send_signal(signal.SIGINT)
        output = finish(process, code=130)
    finally:
        process.kill()
    assert "interrupted" in output
    (checkpoint,) = tmp_path.glob("2*/ckpt_0/*.ckpt")
    _, info = checkpoints.load_network(checkpoint)
    epochs, steps = divmod(info.step - 1, 10)
    assert checkpoint.name == f"0-{epochs + 1}_{steps + 1}.ckpt"
    assert info.step >= 10


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--recipe", "nope"), 2, "no recipe 'nope'"),
        (("--recipe", "smoke", "--lr", "fast"), 2, "--lr: Input should be a valid number"),
        (("--resume",), 2, "--resume: expected one argument; --help lists every flag"),
        (("--resume", "training"), 2, "give the folder of a run, or of runs, such as outputs"),
        (("--recipe", "smoke", "--num-classes", "9"), 1, "say --num-classes 10"),
        (("--recipe", "smoke", "--architecture", "x"), 1, "unknown architecture 'x'"),
    ],
)
def test_mistakes_are_explained_without_a_traceback(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    assert main([*arguments, "--ckpt-path", str(tmp_path)]) == code
    assert words in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(ASCEND_DRIVER.exists(), reason="this machine has an Ascend")
def test_a_missing_device_is_an_error_and_not_a_fall_back(tmp_path: Path) -> None:
    arguments = ("--recipe", "smoke", "--platform", "Ascend", "--ckpt-path", tmp_path)
    output = finish(start("training.train", *arguments), code=1)
    assert "finds no Ascend on this machine; choose another --platform" in output
    assert "Traceback" not in output
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_training_images_never_stand_in_for_test_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = image_folder(tmp_path / "imagenet/train", ["ant", "bee", "cat"])
    own = ("--num-classes", "3", "--per-batch-size", "3", "--train-images", "3")
    places = ("--data-dir", str(images), "--ckpt-path", str(tmp_path / "out"))
    arguments = ("--recipe", "smoke", *own, *places)
    assert main(arguments) == 1
    told = capsys.readouterr().err
    assert "the test images would be the training images" in told
    assert "with --eval-data-dir, or train without evaluation: --run-eval 0" in told
    finish(start("training.train", *arguments, "--run-eval", "0"))
    assert not list(tmp_path.glob("out/*/best_acc.ckpt"))


@pytest.mark.slow
def test_your_own_folders_train_as_the_page_shows(tmp_path: Path) -> None:
    for split in ("train", "val"):
        image_folder(tmp_path / "mine" / split, ["ant", "bee", "cat", "dog", "eel", "fly"])
    [example] = re.findall(r"```yaml\n(.*?)```", (ROOT / "training/README.md").read_text(), re.S)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(example)
    here = ("--data-dir", tmp_path / "mine", "--ckpt-path", tmp_path / "outputs")
    short = ("--num-classes", "6", "--max-epoch", "2")
    finish(start("training.train", "--recipe", recipe, *here, *short))
    info = checkpoints.load(tmp_path / "outputs/latest/best_acc.ckpt").info
    assert info.labels == ["ant", "bee", "cat", "dog", "eel", "fly"]
    assert info.transform.resize.resized(500, 400) == (73, 73)
    assert info.metrics is not None
    assert info.metrics.images == 21
