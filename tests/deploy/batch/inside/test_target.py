"""A target in which somebody has changed what a run goes on with."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import write_pictures

from bundle.store import Bundle
from deploy.batch.errors import DatasetError
from deploy.batch.run import make_worker, prepare
from deploy.batch.settings import DatasetConfig
from deploy.batch.target import MANIFEST, PLAN, Target
from tests.support.paths import SHIPPED


def begun(tmp_path: Path) -> tuple[DatasetConfig, Target]:
    """Return a run that has written nothing yet."""
    write_pictures(tmp_path / "photos", 2)
    config = DatasetConfig(
        source=str(tmp_path / "photos"), target=tmp_path / "rows", model=[SHIPPED]
    )
    target = Target(config.target)
    with target.locked():
        assert prepare(config, target, Bundle.open(SHIPPED)) == [0]
    return config, target


def go_on(config: DatasetConfig, target: Target) -> None:
    prepare(config, target, Bundle.open(SHIPPED))
    make_worker(config, config.serving())


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def to_another_table(path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), path)


def without_what_was_found(path: Path) -> None:
    path.write_text(path.read_text().replace('"found"', '"lost"'))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (MANIFEST, to_folder, "_manifest.json is damaged: .* Is a directory"),
        (MANIFEST, lambda path: path.write_text("[1]"), "_manifest.json is damaged: "),
        (MANIFEST, lambda path: path.write_bytes(b"\xff"), "_manifest.json is damaged: 'utf-8'"),
        (MANIFEST, without_what_was_found, "_manifest.json is damaged: found is None"),
        (PLAN, Path.unlink, "_plan.parquet is damaged or missing: "),
        (PLAN, to_folder, "_plan.parquet is damaged or missing: .* is a directory"),
        (PLAN, to_another_table, "_plan.parquet is no plan of a run: it has a$"),
    ],
)
def test_it_is_told(tmp_path: Path, name: str, change: Callable[[Path], object], said: str) -> None:
    config, target = begun(tmp_path)
    change(target.path / name)
    with pytest.raises(DatasetError, match=said):
        go_on(config, target)
