"""Worker processes: the same pixels whatever their number, and an end in every case."""

import logging
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support import works
from tests.support.paths import ROOT
from tests.training.data.test_datasets import image_folder
from training.data.batches import Transformed
from training.data.dataset import Dataset
from training.data.datasets import open_dataset
from training.data.worker import Work
from training.data.workers import Made, Workers, worker_count
from training.errors import BrokenImageError, WorkerError
from training.settings.config import CommonConfig
from training.settings.train_config import TrainConfig

BATCH = 8
BATCHES = [np.arange(start, min(start + BATCH, 36))[::-1] for start in range(0, 36, BATCH)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """36 images of 8 classes, each class of one grey."""
    return open_dataset(image_folder(tmp_path_factory.mktemp("images"), list("abcdefgh")), "train")


def workers(dataset: Dataset, count: int, *, keep: bool = False) -> Workers:
    config = TrainConfig(num_workers=count)
    return Workers(dataset, works.SIZE, BATCH, config, keep=keep)


def taken(batches: Iterator[Made]) -> np.ndarray:
    return np.concatenate([made.pixels.copy() for made in batches])


def processes(pixels: np.ndarray) -> set[int]:
    """The processes that `works.own_process` names."""
    return {int.from_bytes(image.tobytes()[:8], "little") for image in pixels}


def has_ended(process: int) -> bool:
    """Whether a process ends, or has; a test that waits in vain runs into its time limit."""
    try:
        opened = os.pidfd_open(process)
    except ProcessLookupError:
        return True
    select.select([opened], [], [])
    os.close(opened)
    return True


@pytest.mark.parametrize("count", [0, 1, 3])
def test_pixels_come_in_order_whatever_the_number_of_processes(
    dataset: Dataset, count: int
) -> None:
    expected = np.stack([dataset.rgb(i) for i in np.concatenate(BATCHES)])
    made = workers(dataset, count)
    for _ in range(2):
        np.testing.assert_array_equal(taken(made.batches(works.plain, BATCHES)), expected)


def test_processes_are_others_stay_for_the_next_epoch_and_know_no_mindspore(
    dataset: Dataset,
) -> None:
    made = workers(dataset, 2)
    first, second = (processes(taken(made.batches(works.own_process, BATCHES))) for _ in range(2))
    assert first | second <= set(pids(made))
    assert os.getpid() not in pids(made)
    assert "mindspore" in sys.modules
    assert not taken(made.batches(works.framework, BATCHES)).any()


def pids(made: Workers) -> list[int]:
    assert made._processes is not None
    return made._processes.pids


def test_they_end_with_the_object(dataset: Dataset) -> None:
    made = workers(dataset, 2)
    taken(made.batches(works.plain, BATCHES))
    ended = pids(made)
    del made
    for process in ended:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_what_they_share_has_no_name(dataset: Dataset) -> None:
    made = workers(dataset, 1)
    taken(made.batches(works.plain, BATCHES))
    for process in (os.getpid(), *pids(made)):
        mapped = Path(f"/proc/{process}/maps").read_text().splitlines()
        assert any("/memfd:pixels (deleted)" in line for line in mapped)
    assert not any("/dev/shm/" in line for line in mapped)


def test_they_end_with_a_process_that_is_killed(dataset: Dataset) -> None:
    program = (
        "import numpy as np, sys, pathlib\n"
        "from tests.support import works\n"
        "from training.data.datasets import open_dataset\n"
        "from training.data.workers import Workers\n"
        "from training.settings.train_config import TrainConfig\n"
        "dataset = open_dataset(pathlib.Path(sys.argv[1]), 'train')\n"
        "made = Workers(dataset, works.SIZE, 8, TrainConfig(num_workers=2), keep=False)\n"
        "list(made.batches(works.plain, [np.arange(8)]))\n"
        "print(*made._processes.pids, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, dataset.source],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as parent:  # fmt: skip
        assert parent.stdout
        started = [int(word) for word in parent.stdout.readline().split()]
        assert len(started) == 2
        parent.kill()
    assert all(has_ended(process) for process in started)


def test_an_iteration_that_is_left_ends_them_and_the_next_one_has_the_right_pixels(
    dataset: Dataset,
) -> None:
    made = workers(dataset, 2)
    batches = iter(made.batches(works.own_process, BATCHES))
    next(batches)
    left = pids(made)
    batches.close()
    assert all(has_ended(process) for process in left)
    expected = np.stack([dataset.rgb(i) for i in np.concatenate(BATCHES)])
    np.testing.assert_array_equal(taken(made.batches(works.plain, BATCHES)), expected)


def test_one_that_dies_is_an_error_that_names_the_image(dataset: Dataset) -> None:
    made = workers(dataset, 2)
    with pytest.raises(WorkerError, match="SIGKILL") as caught:
        taken(made.batches(works.Dies(20), BATCHES))
    assert f"the process that read {dataset.name(20)} was ended by SIGKILL" in str(caught.value)


def test_one_that_fails_says_why_and_names_the_image(
    dataset: Dataset, capfd: pytest.CaptureFixture[str]
) -> None:
    made = workers(dataset, 1)
    with pytest.raises(WorkerError, match="exit code 1") as caught:
        taken(made.batches(works.fails, BATCHES))
    assert f"the process that read {dataset.name(7)} ended with exit code 1" in str(caught.value)
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_one_that_is_killed_between_epochs_is_an_error(dataset: Dataset) -> None:
    made = workers(dataset, 1)
    taken(made.batches(works.plain, BATCHES))
    os.kill(pids(made)[0], signal.SIGKILL)
    with pytest.raises(WorkerError, match="a process that reads images was ended by SIGKILL"):
        taken(made.batches(works.plain, BATCHES * 10))


def test_they_leave_signals_to_their_parent(dataset: Dataset) -> None:
    made = workers(dataset, 1)
    taken(made.batches(works.plain, BATCHES))
    [process] = pids(made)
    os.kill(process, signal.SIGTERM)
    assert processes(taken(made.batches(works.own_process, BATCHES))) == {process}
    assert os.getpgid(process) != os.getpgid(0)


@pytest.mark.parametrize("count", [0, 2])
def test_broken_images_are_left_to_who_asked_for_them(tmp_path: Path, count: int) -> None:
    broken = image_folder(tmp_path, list("abcdefgh")) / "d/1.png"
    broken.write_bytes(b"no image")
    dataset = open_dataset(tmp_path, "train")
    made = workers(dataset, count)
    [row] = [
        (batch.indices[r]) for batch in made.batches(works.plain, BATCHES) for r in batch.broken
    ]
    assert dataset.name(int(row)) == str(broken)
    with pytest.raises(BrokenImageError, match=r"d/1.png is not a readable image"):
        made.one(works.plain, int(row))


@pytest.mark.parametrize("count", [0, 1])
def test_pixels_that_are_kept_are_not_read_again(tmp_path: Path, count: int) -> None:
    dataset = open_dataset(image_folder(tmp_path, list("abcdefgh")), "train")
    work: Work = Transformed(TrainConfig(image_size=works.SIZE).transform)
    made = workers(dataset, count, keep=True)
    first = taken(made.batches(work, BATCHES))
    for name in dataset.names:
        Path(name).unlink()
    np.testing.assert_array_equal(
        taken(made.batches(work, BATCHES[::-1])),
        np.concatenate(
            [first[slice(*bounds)] for bounds in [(32, 36), (24, 32), (16, 24), (8, 16), (0, 8)]]
        ),
    )


def test_how_many_there_are(
    dataset: Dataset, test_set: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count(data: Dataset, **settings: object) -> int:
        return worker_count(data, CommonConfig.model_validate(settings))

    cores = len(os.sched_getaffinity(0))
    assert count(dataset) <= cores
    assert count(dataset, num_workers=5) == 5
    assert count(dataset, num_workers=0) == 0
    assert count(dataset, is_distributed=True, group_size=10 * cores) == 1
    assert count(test_set, num_workers=5) == 0  # in memory


def test_the_log_says_how_many(dataset: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    taken(workers(dataset, 2).batches(works.plain, BATCHES))
    assert "2 processes read the images" in caplog.text
