"""The launchers, each for one real step on CPU; the distributed ones are in test_distributed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkpoints import write_checkpoint
from tests.support.paths import FASHION_MNIST, ROOT
from tests.training.conftest import start_script
from tests.training.test_train import finish
from training.data.idx import FASHION_MNIST_CLASSES

SCRIPTS = sorted((ROOT / "training/scripts").glob("*.sh"))
ON_CPU = {"PLATFORM": "CPU", "RECIPE": "smoke"}


@pytest.mark.slow
def test_training_takes_one_step(tmp_path: Path) -> None:
    flags = ("--train_images", "64", "--max_epoch", "1", "--run_eval", "0")
    scripts = ("run_standalone_train.sh", "0"), ("run_standalone_train_gpu.sh",)
    processes = [
        start_script(
            *leading, FASHION_MNIST, *flags, "--ckpt_path", tmp_path / leading[0], **ON_CPU
        )
        for leading in scripts
    ]
    for process, (script, *_) in zip(processes, scripts, strict=True):
        finish(process)
        assert list(tmp_path.glob(f"{script}/2*/ckpt_0/0-1_1.ckpt"))


@pytest.mark.slow
def test_evaluation_counts_the_images(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "a.ckpt", labels=list(FASHION_MNIST_CLASSES))
    flags = ("--eval_images", "50", "--report_path")
    gpu = ("run_eval_gpu.sh", FASHION_MNIST, checkpoint, *flags, tmp_path / "gpu")
    ascend = ("run_eval.sh", "0", FASHION_MNIST, checkpoint, "CPU", *flags, tmp_path / "ascend")
    for process in [start_script(*gpu, **ON_CPU), start_script(*ascend)]:
        assert re.search(r"after results=\[\[\d+\] \[\d+\] \[50\]\]", finish(process))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_what_is_missing_is_told(script: Path) -> None:
    assert f"usage: bash {script.name} " in finish(start_script(script.name), 2)


def test_shellcheck_finds_nothing() -> None:
    subprocess.run([Path(sys.executable).parent / "shellcheck", *SCRIPTS], check=True)
