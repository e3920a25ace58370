"""The real entries, in processes of their own, on real images."""

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from tensorboard.plugins.hparams import api_pb2

from tests.support.paths import FASHION_MNIST, ROOT
from tests.training.conftest import start
from tests.training.data.test_datasets import image_folder
from tests.training.trackers.test_tensorboard import ended, read
from training.checkpoint import checkpoints
from training.settings.files import step_checkpoints
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
    assert records[1]["eval_loss"] < records[0]["eval_loss"]
    assert np.asarray(Image.open(run.folder / "training.png")).std() > 1
    assert "epoch 2: loss" in (run.folder / "train.log").read_text()


@pytest.mark.slow
def test_tensorboard_has_what_metrics_jsonl_has(run: Finished) -> None:
    found = read(run.folder)
    records = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    for name in ("loss", "top1", "eval_loss", "lr"):
        points = [(event.step, event.value) for event in found.Scalars(name)]
        assert points == [(each["step"], pytest.approx(each[name])) for each in records]
    assert f"tensorboard --logdir {run.folder.parent}" in run.output


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
def test_the_last_line_names_the_best_checkpoint(run: Finished) -> None:
    info = checkpoints.load(run.best).info
    assert info.metrics is not None
    path = run.folder.resolve() / "best_acc.ckpt"
    last = run.output.splitlines()[-1]
    assert last.endswith(f"best: {info.metrics.top1:.2%} (TOP1) after epoch {info.epoch}: {path}")


@pytest.mark.slow
def test_the_upstreams_file_names(run: Finished) -> None:
    names = sorted(path.name for path in (run.folder / "ckpt_0").glob("*.ckpt"))
    assert names == ["0-1_40.ckpt", "0-2_40.ckpt"]


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
        assert sum(count for _, _, count in found["confusion"]) == 1000
        right = {i: count for i, j, count in found["confusion"] if i == j}
        assert [c["images"] * c["top1"] for c in found["classes"]] == pytest.approx(
            [right.get(i, 0) for i in range(10)]
        )
        assert np.asarray(Image.open(report.with_suffix(".png"))).std() > 1


@pytest.mark.slow
def test_evaluation_of_a_folder_goes_on_after_a_damaged_file(run: Finished, tmp_path: Path) -> None:
    for name in ("0-10_2", "0-9_2", "best"):
        for suffix in (".ckpt", ".json"):
            shutil.copy(run.best.with_suffix(suffix), tmp_path / f"{name}{suffix}")
    (tmp_path / "0-9_2.ckpt").chmod(0o644)
    (tmp_path / "0-9_2.ckpt").write_bytes(b"damaged")
    arguments = ("--pretrained", tmp_path, "--data-dir", FASHION_MNIST, "--eval-images", "100")
    output = finish(start("training.eval", *arguments, "--report-path", tmp_path / "to"), 1)
    loaded = re.findall(
        r"load model .*/(\S+)\.ckpt success|ERROR:.*/(\S+)\.ckpt is damaged", output
    )
    assert loaded == [("", "0-9_2"), ("0-10_2", ""), ("best", "")]
    assert "error: not evaluated, for the reasons above: 0-9_2.ckpt" in output


@pytest.mark.slow
def test_an_interrupt_ends_an_evaluation_at_once(run: Finished, tmp_path: Path) -> None:
    arguments = ("--pretrained", run.best, "--report-path", tmp_path)
    process = start("training.eval", *arguments, "--data-dir", FASHION_MNIST)
    try:
        wait_for_line(process, "success")
        process.send_signal(signal.SIGINT)
        assert "interrupted" in finish(process, code=130)
    finally:
        process.kill()


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
    checkpoint = step_checkpoints(next(tmp_path.glob("2*/ckpt_0")))[-1]
    _, info = checkpoints.load_network(checkpoint)
    epochs, steps = divmod(info.step - 1, 10)
    assert checkpoint.name == f"0-{epochs + 1}_{steps + 1}.ckpt"
    assert info.step >= 10
    assert ended(checkpoint.parents[1]) == api_pb2.STATUS_UNKNOWN


@pytest.mark.slow
def test_an_interrupt_at_a_terminal_ends_the_processes_that_read_images(tmp_path: Path) -> None:
    """Ctrl-C goes to the whole foreground group of processes."""
    images = image_folder(tmp_path / "mine/train", list("abcdefghij"))
    image_folder(tmp_path / "mine/val", list("abcdefghij"))
    own = ("--data-dir", images, "--num-workers", "2", "--per-batch-size", "11")
    endless = ("--max-epoch", "1000", "--ckpt-path", tmp_path / "outputs")
    process = start("training.train", "--recipe", "smoke", *own, *endless, start_new_session=True)
    try:
        wait_for_line(process, "(TOP1)")
        readers = psutil.Process(process.pid).children()
        assert len(readers) == 4  # of training, and of evaluation
        os.killpg(process.pid, signal.SIGINT)
        output = finish(process, code=130)
    finally:
        process.kill()
    assert "interrupted: saving after this step" in output
    assert "Traceback" not in output
    assert not any(reader.is_running() for reader in readers)
    assert step_checkpoints(next(tmp_path.glob("outputs/2*/ckpt_0")))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--recipe", "nope"), 2, "no recipe 'nope'"),
        (("--recipe", "smoke", "--lr", "fast"), 2, "--lr: Input should be a valid number"),
        (("--resume",), 2, "--resume: expected one argument; --help lists every flag"),
        (("--resume", "training"), 2, "give the folder of a run, or of runs, such as outputs"),
        (("--recipe", "smoke", "--num-classes", "9"), 1, "say --num-classes 10, or leave it out"),
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
def test_a_recipe_of_fashion_mnist_trains_on_your_own_folders(tmp_path: Path) -> None:
    for split in ("train", "val"):
        image_folder(tmp_path / "mine" / split, ["ant", "bee", "cat"])
    own = ("--data-dir", tmp_path / "mine", "--ckpt-path", tmp_path / "outputs")
    small = ("--architecture", "tiny", "--per-batch-size", "4", "--max-epoch", "1")
    finish(start("training.train", "--recipe", "fashion_mnist_cpu", *own, *small))
    info = checkpoints.load(tmp_path / "outputs/latest/best_acc.ckpt").info
    assert (info.labels, info.num_classes) == (["ant", "bee", "cat"], 3)


@pytest.mark.slow
def test_your_own_folders_train_as_the_page_shows(tmp_path: Path) -> None:
    for split in ("train", "val"):
        image_folder(tmp_path / "mine" / split, ["ant", "bee", "cat", "dog", "eel", "fly"])
    [example] = re.findall(r"```yaml\n(.*?)```", (ROOT / "training/README.md").read_text(), re.S)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(example)
    here = ("--data-dir", tmp_path / "mine", "--ckpt-path", tmp_path / "outputs")
    short = ("--class-weights", "balanced", "--max-epoch", "2")
    output = finish(start("training.train", "--recipe", recipe, *here, *short))
    info = checkpoints.load(tmp_path / "outputs/latest/best_acc.ckpt").info
    assert info.labels == ["ant", "bee", "cat", "dog", "eel", "fly"]
    assert (info.num_classes, info.config["num_classes"]) == (6, 6)
    assert "class weights: ant 3.5, bee 1.75, cat 1.167," in output
    assert info.transform.resize.resized(500, 400) == (73, 73)
    assert info.metrics is not None
    assert info.metrics.images == 21
