"""Real runs with the trackers that are not the default, and one that their user interrupts."""

import json
import signal
from pathlib import Path

import pytest

from tests.support.wandb_files import exit_codes
from tests.support.wandb_files import history as logged
from tests.training.conftest import start
from tests.training.test_train import finish, wait_for_line
from tests.training.trackers.test_mlflow import MLFLOWS_OWN, found, history
from tests.training.trackers.test_wandb import written

pytestmark = [pytest.mark.slow, MLFLOWS_OWN]


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_an_interrupt_ends_the_run_there_too(tmp_path: Path, name: str) -> None:
    endless = ("--max-epoch", "1000", "--train-images", "640", "--ckpt-path", tmp_path)
    command = ("--recipe", "smoke", "--eval-images", "100", "--tracker", name, *endless)
    process = start("training.train", *command)
    try:
        wait_for_line(process, "epoch 2: loss")
        process.send_signal(signal.SIGINT)
        finish(process, code=130)
    finally:
        process.kill()
    [run] = tmp_path.glob("2*")
    losses = [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    if name == "mlflow":
        assert [loss for _, loss in history(run, "loss")] == losses
        assert found(run).info.status == "KILLED"
    else:
        [file] = written(run)
        assert [row["loss"] for row in logged(file)] == losses
        assert exit_codes(file) == [130]
    assert not (run / "tensorboard").exists()
