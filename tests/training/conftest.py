"""What the tests of the training room share."""

import training  # noqa: F401  # isort: skip  # sets what mindspore must find in the environment
import os
import subprocess
import sys
import warnings
from pathlib import Path

import mindspore
import pytest

from tests.support.paths import FASHION_MNIST, ROOT
from training.data.dataset import Dataset
from training.data.datasets import open_dataset
from training.distributed import use_device
from training.settings.train_config import TrainConfig


@pytest.fixture(scope="session", autouse=True)
def _cpu() -> None:
    use_device("CPU")
    with warnings.catch_warnings(action="ignore"):
        # MindSpore's first arithmetic imports `numpy.core`: it fails if that warning is an error.
        (mindspore.Tensor([1.0]) * 2).sum()


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the developer's shell must not reach a test."""
    for name in os.environ:
        if name.startswith("RESNEXT_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def test_set() -> Dataset:
    """The 10,000 test images of Fashion-MNIST."""
    return open_dataset(FASHION_MNIST, "test")


@pytest.fixture
def smoke() -> TrainConfig:
    """The settings of the smoke recipe."""
    return TrainConfig(recipe="smoke")


def start(
    module: str, *arguments: str | Path, start_new_session: bool = False
) -> subprocess.Popen[str]:
    """Start `python -m module arguments`; both outputs go to its stdout."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=start_new_session,
    )


def start_script(name: str, *arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    """Start a launcher of training/scripts with this Python; both outputs go to its stdout."""
    return subprocess.Popen(
        ["bash", ROOT / "training/scripts" / name, *arguments],
        cwd=ROOT,
        text=True,
        env=os.environ | {"PYTHON": sys.executable} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
