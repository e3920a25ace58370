"""`python -m benchmarks.training`: our training and evaluation against the bare network."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Literal

import training  # noqa: F401  # isort: skip  # sets what mindspore must find in the environment
from pydantic import BaseModel, Field, PositiveInt
from rich.console import Console

from benchmarks.bare_training import BareNetwork
from benchmarks.command import RESULTS, Benchmark, configured, start
from benchmarks.photos import jpeg, photo
from benchmarks.records import Record, circumstances, markdown
from cli.tables import show_rows
from training.data.datasets import open_dataset
from training.data.idx import FASHION_MNIST_CLASSES
from training.distributed import use_device
from training.evaluation import Evaluator
from training.resnext import build
from training.run.folder import RunFolder
from training.run.loop import Trainer
from training.run.report import JSONL, EpochRecord
from training.settings.train_config import TrainConfig

Case = Literal["tiny", "resnext14_8x4d", "resnext152_64x4d"]
Work = Literal["training", "forward"]
Speeds = tuple[float, ...]
Bare = Literal["same work", "shortest step", "forward pass"]
TEXTS, NUMBERS = ("network", "work", "bare"), ("bare img/s", "ours img/s", "ours / bare")
HEADER = (*TEXTS, "batch", *NUMBERS, "data wait")
LIBRARIES = ("mindspore", "numpy", "pillow")
FULL: Literal["resnext152_64x4d"] = "resnext152_64x4d"
STEPS: dict[Case, int] = {"tiny": 4, "resnext14_8x4d": 100, FULL: 4}  # of a turn


class Row(BaseModel):
    """Images per second, medians over the rounds; `ratio` is the median of ours / bare."""

    network: str
    work: Work
    against: Bare = Field(description="which bare loop: benchmarks/bare_training.py")
    batch: int
    bare: float
    ours: float
    ratio: float
    data_wait_share: float | None = Field(description="of the last epoch; of training")

    def cells(self) -> list[str]:
        """Return the row of the table."""
        wait = "" if self.data_wait_share is None else f"{self.data_wait_share:.2%}"
        speeds = (f"{self.bare:.2f}", f"{self.ours:.2f}", f"{self.ratio:.1%}")
        return [self.network, self.work, self.against, str(self.batch), *speeds, wait]


class TrainingRecord(Record):
    """A run of this benchmark."""

    rounds: int
    rows: list[Row]


class Training(Benchmark):
    """Compare our loops, data and all, with the same network on one batch; they take turns."""

    model_config = configured("benchmarks.training")

    networks: list[Case] = Field(
        ["resnext14_8x4d", "resnext152_64x4d"], description="members of the family, comma-separated"
    )
    rounds: PositiveInt = Field(3, description="turns of each, after a first one that compiles")
    output: Path = Field(RESULTS, description="folder for training.json and training.md")

    def run(self) -> None:
        """Measure, print the table, and write the record."""
        use_device("CPU")
        started = circumstances("benchmarks.training", LIBRARIES)
        rows = [row for network in self.networks for row in self._measure(network)]
        record = TrainingRecord(**started.model_dump(), rounds=self.rounds, rows=rows)
        table = [row.cells() for row in rows]
        show_rows(HEADER, table, title="images per second", text_columns=len(TEXTS))
        record.write(self.output, "training", markdown(HEADER, table, text_columns=len(TEXTS)))

    def _measure(self, network: Case) -> list[Row]:
        with tempfile.TemporaryDirectory() as name, Console(stderr=True).status(network):
            config, steps = self._config(network, Path(name)), STEPS[network]
            bare, ours = BareNetwork(config), OurLoops(config, RunFolder(Path(name)))
            same, trained, shortest = self._turns(
                lambda: bare.train(steps), ours.train, lambda: bare.train_shortest(steps)
            )
            passes, evaluated = self._turns(lambda: bare.predict(steps), ours.evaluate)
            wait = ours.data_wait_share
            return [
                _row(config, "training", "same work", same, trained, wait),
                _row(config, "training", "shortest step", shortest, trained, wait),
                _row(config, "forward", "forward pass", passes, evaluated),
            ]

    def _turns(self, *loops: Callable[[], float]) -> list[Speeds]:
        """Return the speeds of each loop; the first round, which compiles, is left out."""
        rounds = [[loop() for loop in loops] for _ in range(self.rounds + 1)]
        return list(zip(*rounds[1:], strict=True))

    def _config(self, network: Case, folder: Path) -> TrainConfig:
        size = 2 if network == FULL else 32
        settings: dict[str, Any] = {
            "recipe": None if network == FULL else "fashion_mnist_cpu",
            "architecture": network,
            "per_batch_size": size,
            "train_images": size * STEPS[network],
            "eval_images": size * (STEPS[network] + 1),
            "run_eval": False,
            "warmup_epochs": 0,
            "max_epoch": self.rounds + 1,
            "num_classes": len(FASHION_MNIST_CLASSES),
        }
        if network == FULL:
            settings |= {"data_dir": folder, "num_classes": _write_photos(folder, STEPS[FULL] + 1)}
        return TrainConfig(**settings)


class OurLoops:
    """The loops of `python -m training.train` and `training.eval`, on a recipe's images."""

    def __init__(self, config: TrainConfig, folder: RunFolder) -> None:
        self._trainer, self._records = Trainer(config, folder), folder.path / JSONL
        self._evaluator = Evaluator(
            build(config.architecture, config.classes),
            open_dataset(config.data_dir, "test"),
            config.transform,
            config.normalization,
            config.per_batch_size,
            config,
        )
        self.data_wait_share = 0.0

    def train(self) -> float:
        """Return the images per second of an epoch."""
        self._trainer.run_epoch(lambda: False)
        record = EpochRecord.model_validate_json(self._records.read_text().splitlines()[-1])
        self.data_wait_share = record.data_wait_share
        return record.images_per_second

    def evaluate(self) -> float:
        """Return the images per second of an evaluation after its first batch, as of the bare."""
        return self._evaluator.evaluate().images_per_second


def _write_photos(folder: Path, classes: int) -> int:
    """Write two photos of 500 x 375 for each class, and return how many classes there are."""
    for label in range(classes):
        (folder / str(label)).mkdir()
        for copy in range(2):
            (folder / str(label) / f"{copy}.jpg").write_bytes(jpeg(photo(2 * label + copy)))
    return classes


def _row(
    config: TrainConfig,
    work: Work,
    against: Bare,
    bare: Speeds,
    ours: Speeds,
    wait: float | None = None,
) -> Row:
    return Row(
        network=config.architecture,
        work=work,
        against=against,
        batch=config.per_batch_size,
        bare=median(bare),
        ours=median(ours),
        ratio=median(mine / theirs for theirs, mine in zip(bare, ours, strict=True)),
        data_wait_share=wait,
    )


if __name__ == "__main__":
    start(Training)
