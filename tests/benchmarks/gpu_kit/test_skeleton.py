from pathlib import Path

import pytest

from benchmarks.gpu_kit.skeleton import cut, restore
from bundle.store import Bundle, BundleError, contents
from cli.program import UsageError
from tests.support.bundles import write_bundle


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_bundle_comes_back_byte_for_byte(untrained: Bundle, tmp_path: Path) -> None:
    cut(untrained, tmp_path / "skeleton")
    # What is left are golden images, names and shapes.
    assert size(tmp_path / "skeleton") < size(untrained.path) / 20
    again = restore(tmp_path / "skeleton", tmp_path / "again")
    assert again.digest == untrained.digest
    for name in contents(untrained.path):
        assert (again.path / name).read_bytes() == (untrained.path / name).read_bytes()


def test_a_skeleton_that_was_changed_is_no_bundle(untrained: Bundle, tmp_path: Path) -> None:
    cut(untrained, tmp_path / "skeleton")
    path = tmp_path / "skeleton" / "half.onnx.skeleton"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match=r"changed since it was sealed: half\.onnx"):
        restore(tmp_path / "skeleton", tmp_path / "again")


def test_another_bundle_has_no_skeleton(tmp_path: Path) -> None:
    bundle = Bundle.open(write_bundle(tmp_path))
    with pytest.raises(UsageError, match="holds mean_and_matrix, which is no network of"):
        cut(bundle, tmp_path / "skeleton")
