"""Two real processes, started by the launchers: what they learn, and how they end."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import mindspore
import numpy as np
import psutil
import pytest
from mindspore import Tensor, nn, ops

from cli.cores import usable_cores
from tests.support.checkpoints import write_checkpoint
from tests.support.paths import FASHION_MNIST
from tests.training.conftest import start, start_script
from tests.training.test_train import finish, wait_for_line
from training.checkpoint import checkpoints
from training.checkpoint.networks import open_trained
from training.data.batches import TrainingData
from training.data.datasets import open_dataset
from training.data.idx import FASHION_MNIST_CLASSES
from training.evaluation import Evaluator
from training.metrics import Evaluation
from training.optimizers import optimizer as make_optimizer
from training.run.folder import RunFolder
from training.run.loop import train
from training.schedules import learning_rates
from training.settings.config import EvalConfig
from training.settings.files import step_checkpoints
from training.settings.train_config import TrainConfig
from training.step import SmoothedCrossEntropy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STEPS, BATCH = 3, 16
MOVING = ("moving_mean", "moving_variance")
TWO = {"PROCESSES": "2", "PLATFORM": "CPU", "RECIPE": "smoke"}


def weights(path: Path) -> dict[str, np.ndarray]:
    return checkpoints.load(path).parameters


def two_shards_in_one_process(start: Path, settings: TrainConfig) -> list[dict[str, np.ndarray]]:
    """Train on the mean of both shards' gradients; each keeps batch-norm statistics of its own."""
    dataset = open_dataset(FASHION_MNIST, "train")
    group = {"is_distributed": True, "group_size": 2}
    configs = [settings.model_copy(update=group | {"rank": rank}) for rank in (0, 1)]
    shards = [TrainingData(dataset, config).epoch(0) for config in configs]
    net = checkpoints.load_network(start)[0].set_train()
    criterion = SmoothedCrossEntropy(10, settings.smoothing)
    optimizer = make_optimizer(net, learning_rates(settings, STEPS), settings)

    def forward(images: Tensor, labels: Tensor) -> Tensor:
        return criterion(net(images), labels)

    derive = mindspore.value_and_grad(forward, None, optimizer.parameters)

    @mindspore.jit
    def gradients(images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        return derive(images, labels)[1]

    statistics = [values(net, MOVING) for _ in shards]
    for batches in zip(*shards, strict=True):
        both = []
        for rank, (images, labels) in enumerate(batches):
            put(net, statistics[rank])
            both.append(gradients(Tensor(images), Tensor(labels)))
            statistics[rank] = values(net, MOVING)
        optimizer(tuple((first + second) / 2 for first, second in zip(*both, strict=True)))
    return [values(net, ("",)) | own for own in statistics]


def values(net: nn.Cell, endings: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {p.name: p.asnumpy().copy() for p in net.get_parameters() if p.name.endswith(endings)}


def put(net: nn.Cell, parameters: dict[str, np.ndarray]) -> None:
    for parameter in net.get_parameters():
        if parameter.name in parameters:
            ops.assign(parameter, Tensor(parameters[parameter.name]))


def test_two_processes_learn_what_one_learns_from_both_shards(tmp_path: Path) -> None:
    first = write_checkpoint(tmp_path / "first.ckpt")
    table = tmp_path / "rank_table.json"
    table.write_text("{}")
    changes = {
        "train_images": str(STEPS * BATCH * 2),
        "per_batch_size": str(BATCH),
        "max_epoch": "1",
        "pretrained": str(first),
        "run_eval": "0",
        "is_save_on_master": "0",
        "ckpt_path": str(tmp_path / "outputs"),
    }
    flags = [text for name, value in changes.items() for text in (f"--{name}", value)]
    process = start_script("run_distribute_train.sh", table, FASHION_MNIST, *flags, **TWO)
    expected = two_shards_in_one_process(first, TrainConfig(recipe="smoke", **changes))
    finish(process)
    for rank in (0, 1):
        [path] = tmp_path.glob(f"outputs/2*/ckpt_{rank}/{rank}-1_{STEPS}.ckpt")
        found = weights(path)
        assert found.keys() == expected[rank].keys()
        for name, value in expected[rank].items():
            np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=name)
    assert any((expected[0][name] != expected[1][name]).any() for name in expected[0])


def test_two_processes_that_accumulate_learn_what_one_learns_from_the_whole_batch(
    tmp_path: Path,
) -> None:
    """With fixed statistics; also the average of the weights, and the dynamic loss scale."""
    changes = {
        "train_images": str(STEPS * BATCH * 2),
        "max_epoch": "1",
        "pretrained": str(write_checkpoint(tmp_path / "first.ckpt")),
        "freeze": "backbone",
        "ema": "0.5",
        "is_dynamic_loss_scale": "1",
        "run_eval": "0",
    }
    together = changes | {"per_batch_size": str(BATCH // 2), "accumulate": "2"}
    flags = [text for name, value in together.items() for text in (f"--{name}", value)]
    process = start_script(
        "run_distribute_train_gpu.sh", FASHION_MNIST, *flags, "--ckpt-path", tmp_path / "two", **TWO
    )
    alone = TrainConfig(
        recipe="smoke", per_batch_size=BATCH * 2, ckpt_path=tmp_path / "one", **changes
    )
    train(alone, RunFolder.create(alone, 0))
    finish(process)
    name = f"ckpt_0/0-1_{STEPS}"
    [one], [two] = tmp_path.glob(f"one/19*/{name}.ckpt"), tmp_path.glob(f"two/2*/{name}.ckpt")
    for suffix in (".ckpt", ".npz"):
        expected, found = (checkpoints.read_arrays(p.with_suffix(suffix)) for p in (one, two))
        assert expected.keys() == found.keys()
        for key in expected.keys() - {"losses"}:  # a process reports the loss of its own images
            np.testing.assert_allclose(found[key], expected[key], rtol=0, atol=1e-5, err_msg=key)


def test_a_process_that_dies_ends_the_run_and_only_the_master_wrote(tmp_path: Path) -> None:
    flags = ("--max-epoch", "1000", "--train-images", "256", "--eval-images", "101")
    folders = ("--ckpt-path", tmp_path, "--ckpt-interval", "1")
    # MindSpore's scheduler waits this many seconds for a silent process; 30 by default.
    environment = TWO | {"MS_NODE_TIMEOUT": "10"}
    process = start_script(
        "run_distribute_train_gpu.sh", FASHION_MNIST, *flags, *folders, **environment
    )
    try:
        wait_for_line(process, "tot=101,")
        second = worker(process, rank=1)
        share = usable_cores().usable // 2
        assert second.environ()["OMP_NUM_THREADS"] == str(max(share, 1))
        second.send_signal(signal.SIGKILL)
        output = finish(process, code=1)
    finally:
        process.kill()
    assert "a process has failed and the others were ended; their logs:" in output
    [run] = tmp_path.glob("2*")
    assert {path.name for path in run.iterdir()} >= {"ckpt_0", "best_acc.ckpt", "train.log"}
    assert len(list((run / "tensorboard").iterdir())) == 1
    assert not (run / "ckpt_1").exists()
    assert not alive(tmp_path)


def test_two_processes_count_every_test_image_once(tmp_path: Path) -> None:
    """101 images in batches of 16: neither the shares nor their last batches are full or equal."""
    checkpoint = write_checkpoint(tmp_path / "a.ckpt", labels=list(FASHION_MNIST_CLASSES))
    flags = ("--pretrained", checkpoint, "--eval-images", "101", "--per-batch-size", "16")
    group = ("--is-distributed", "1", "--group-size", "2", "--report-path", tmp_path / "both")
    two = start("training.eval", *flags, *group)
    alone = evaluate_alone(checkpoint)
    together = finish(two)
    assert counts("after", together) == counts("after", "\n".join(alone.lines()))
    assert counts("after", together)[-1] == 101
    assert counts("before", together)[-1] == 51
    [report] = tmp_path.glob("both/2*/a.json")
    found = np.zeros_like(alone.whole.confusion)
    for true, answer, images in json.loads(report.read_text())["confusion"]:
        found[true, answer] = images
    np.testing.assert_array_equal(found, alone.whole.confusion)


def evaluate_alone(checkpoint: Path) -> Evaluation:
    config = EvalConfig(pretrained=checkpoint, eval_images=101)
    net, _, _, _, *as_in_training = open_trained(checkpoint, None)
    dataset = open_dataset(FASHION_MNIST, "test")
    return Evaluator(net, dataset, *as_in_training, 16, config).evaluate()


def counts(when: str, output: str) -> list[int]:
    """Return what the log says was right among top-1, among top-5, and how many there were."""
    [line] = re.findall(rf"{when} results=(.*)", output)
    return [int(number) for number in re.findall(r"\d+", line)]


def test_a_launcher_that_is_terminated_leaves_a_checkpoint_and_no_process(tmp_path: Path) -> None:
    """SIGTERM reaches the launcher alone, as from a container's runtime or a batch system."""
    with endless(tmp_path, "--log-interval", "3", "--stop-interval", "5") as process:
        process.send_signal(signal.SIGTERM)
        output = finish(process, code=130)
    assert "interrupted" in output
    assert "Traceback" not in output
    newest = step_checkpoints(next(tmp_path.glob("2*/ckpt_0")))[-1]
    assert checkpoints.load(newest).info.step % 5 == 0


def test_a_launcher_that_is_terminated_in_an_evaluation_does_not_finish_it(tmp_path: Path) -> None:
    short = ("--train-images", "256", "--max-epoch", "2", "--log-interval", "1")
    # Steps do not notice, an evaluation does.
    flags = ("--stop-interval", "1000000", "--eval-images", "9999", "--eval-per-batch-size", "1")
    folder = ("--ckpt-path", tmp_path)
    process = start_script(
        "run_distribute_train_gpu.sh", FASHION_MNIST, *short, *flags, *folder, **TWO
    )
    try:
        wait_for_line(process, "epoch 1 step 2/4 ")
        process.send_signal(signal.SIGTERM)
        output = finish(process, code=130)
    finally:
        process.kill()
    assert "epoch 1: not evaluated to the end" in output
    assert "(TOP1)" not in output
    [newest] = step_checkpoints(next(tmp_path.glob("2*/ckpt_0")))
    assert checkpoints.load(newest).info.epoch == 1
    assert not alive(tmp_path)


def test_a_launcher_that_is_terminated_again_leaves_no_process(tmp_path: Path) -> None:
    later = ("--stop-interval", "1000000", "--save-each-epoch", "0")
    with endless(tmp_path, *later) as process:
        process.send_signal(signal.SIGTERM)
        wait_for_line(process, "interrupted")
        process.send_signal(signal.SIGTERM)
        finish(process, code=130)
    assert not list(tmp_path.glob("2*/ckpt_0/*.ckpt"))


@contextmanager
def endless(ckpt_path: Path, *flags: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Yield a launcher whose run is under way; none of its processes must be left at the end."""
    short = ("--max-epoch", "100000", "--train-images", "256", "--run-eval", "0")
    folder = ("--ckpt-path", ckpt_path, "--ckpt-interval", "1000000")
    process = start_script(
        "run_distribute_train_gpu.sh", FASHION_MNIST, *short, *folder, *flags, **TWO
    )
    wait_for_line(process, "epoch 1: loss")
    started = [process, *psutil.Process(process.pid).children(recursive=True)]
    try:
        yield process
        assert psutil.wait_procs(started[1:], timeout=60)[1] == []
    finally:
        for left in started:
            with suppress(psutil.NoSuchProcess):
                left.kill()


def worker(process: subprocess.Popen[str], rank: int) -> psutil.Process:
    for child in psutil.Process(process.pid).children(recursive=True):
        environment = child.environ()
        if (environment.get("MS_ROLE"), environment.get("RANK_ID")) == ("MS_WORKER", str(rank)):
            return child
    raise AssertionError(f"there is no worker of rank {rank}")


def alive(folder: Path) -> list[psutil.Process]:
    found = psutil.process_iter(["cmdline"])  # which is None of a process that has ended
    return [p for p in found if str(folder) in " ".join(p.info["cmdline"] or ())]
