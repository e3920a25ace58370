"""Folders of small pictures, and the command on them."""

import io
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from deploy.ray.classify_dataset import main
from tests.support.paths import ROOT, SHIPPED

# One size of batches: how many images run together must not change a bit of an answer.
QUICK = ("--instances", "1", "--buckets", "8")


def picture(seed: int, side: int = 28) -> bytes:
    """Return a PNG that the seed colours."""
    generator = np.random.default_rng(seed)
    noise = generator.integers(0, 60, (side, side, 3)) + generator.integers(0, 196, 3)
    file = io.BytesIO()
    Image.fromarray(noise.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def write_pictures(folder: Path, count: int) -> list[Path]:
    """Write pictures into two folders of classes; return their paths, sorted."""
    paths = [folder / ("cats" if seed % 2 else "ants") / f"{seed:04}.png" for seed in range(count)]
    for seed, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(seed))
    return sorted(paths)


def write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    """Write a tar as WebDataset does."""
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def rows(target: Path) -> list[dict[str, Any]]:
    """Return all rows of a target, in the order of its files."""
    return list(pa.concat_tables(map(pq.read_table, parts(target))).to_pylist())


def arguments(source: Path | str, target: Path, *flags: str) -> list[str]:
    """Return the command's arguments: the shipped bundle, and these flags."""
    return [str(source), str(target), "--model", str(SHIPPED), *flags]


def start(source: Path, target: Path, *flags: str) -> "subprocess.Popen[str]":
    """Start the command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "deploy.ray.classify_dataset", *arguments(source, target, *flags)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def parts(target: Path) -> list[Path]:
    """Return the files of rows that are written."""
    return sorted(target.glob("part-*.parquet"))


def until(happened: Callable[[], object], process: "subprocess.Popen[str] | None" = None) -> None:
    """Look again and again until something has happened; the process must still run then."""
    while not happened():
        assert process is None or process.poll() is None, process.communicate()
        threading.Event().wait(0.002)  # files tell nobody that they have come
    assert process is None or process.poll() is None, "too early: it has ended already"


@pytest.fixture
def classify(tmp_path: Path) -> Callable[..., int]:
    """Run the command on a source, into `tmp_path / "rows"` unless `target` says otherwise."""

    def run(source: Path | str, *flags: str, target: Path | None = None) -> int:
        return main(arguments(source, target or tmp_path / "rows", *QUICK, *flags))

    return run


@pytest.fixture(scope="module")
def photos(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures, as many as the module says in IMAGES."""
    folder = tmp_path_factory.mktemp("photos")
    write_pictures(folder, request.module.IMAGES)
    return folder


@pytest.fixture(scope="module")
def undisturbed(
    request: pytest.FixtureRequest, photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """The rows of a run that nothing disturbs, with the module's FLAGS."""
    target = tmp_path_factory.mktemp("undisturbed")
    process = start(photos, target, *request.module.FLAGS)
    _, err = process.communicate()
    assert process.returncode == 0, err
    return rows(target)
