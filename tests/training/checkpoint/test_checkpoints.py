"""Checkpoints: a round trip, and everything that must be refused."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor

from tests.support.checkpoints import stirred, write_checkpoint
from tests.support.paths import ROOT
from training.checkpoint import checkpoints
from training.errors import CheckpointError
from training.resnext import build
from training.settings.files import step_checkpoints


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "run" / "tiny.ckpt")


def test_a_network_comes_back_as_it_was(written: Path) -> None:
    net, info = checkpoints.load_network(written)
    images = Tensor(np.random.default_rng(1).normal(size=(2, 3, 28, 28)).astype(np.float32))
    expected = stirred("tiny", 10)(images).asnumpy()
    np.testing.assert_array_equal(net(images).asnumpy(), expected)
    assert not net.training
    assert not net.eval_mirror
    assert "eval_mirror" not in written.with_suffix(".json").read_text()
    assert (info.architecture, info.num_classes, info.metrics) == ("tiny", 10, None)


def test_both_files_can_be_read_by_everyone_and_nothing_else_is_left(written: Path) -> None:
    files = sorted(written.parent.iterdir())
    assert [file.name for file in files] == ["tiny.ckpt", "tiny.json"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o644}


def test_only_weights_are_written(written: Path) -> None:
    net = build("tiny", 10)
    assert checkpoints.load(written).parameters.keys() == {p.name for p in net.get_parameters()}


def test_a_checkpoint_is_replaced(written: Path) -> None:
    net = build("tiny", 10)
    checkpoints.save(net, checkpoints.load(written).info.model_copy(update={"step": 7}), written)
    again = checkpoints.load(written)
    assert again.info.step == 7
    np.testing.assert_array_equal(again.parameters["head.fc.weight"], net.head.fc.weight.asnumpy())


class Killed(BaseException):
    """The end of the process, as far as files can tell."""


@pytest.mark.parametrize("renamed", [0, 1, 2])
def test_a_process_killed_while_writing_leaves_no_weights_without_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renamed: int
) -> None:
    """A first checkpoint is complete; the process dies before the renaming number `renamed`."""
    first = write_checkpoint(tmp_path / "0-1_1.ckpt")
    info, net, left = checkpoints.load(first).info, build("tiny", 10), iter(range(renamed))

    def replace(source: Path, target: Path) -> Path:
        if next(left, None) is None:
            raise Killed
        return source.rename(target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(Killed):
        checkpoints.save(net, info, tmp_path / "0-1_2.ckpt", {"losses": np.zeros(3)})
    assert step_checkpoints(tmp_path) == [first]
    checkpoints.load_network(first)


SAVE = """
import resource, sys
from pathlib import Path
from tests.support.checkpoints import write_checkpoint
from training.errors import OutputError
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_checkpoint(Path(sys.argv[1]))
except OutputError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_full_disk_is_an_error_that_says_so(written: Path) -> None:
    """A limit on the size of files fails a write as a full disk does."""
    before = written.read_bytes()
    command = [sys.executable, "-c", SAVE, str(written)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"cannot write {written}: File too large; make room there" in done.stdout
    assert written.read_bytes() == before
    assert sorted(file.name for file in written.parent.iterdir()) == ["tiny.ckpt", "tiny.json"]


def test_safetensors_hold_the_same(written: Path) -> None:
    before = checkpoints.load(written)
    path = written.with_name("other.safetensors")
    checkpoints.save(stirred("tiny", 10), before.info, path)
    again = checkpoints.load(path)
    assert path.read_bytes()[8:9] == b"{"
    assert again.parameters.keys() == before.parameters.keys()
    for name, value in again.parameters.items():
        np.testing.assert_array_equal(value, before.parameters[name])
    path.write_bytes(b"no weights")
    without_digest(path)
    with pytest.raises(CheckpointError, match=r"other.safetensors is not a checkpoint"):
        checkpoints.load(path)


def test_missing_left_over_and_misshapen_names_are_listed(written: Path) -> None:
    parameters = checkpoints.load(written).parameters
    del parameters["head.fc.bias"]
    parameters["moments.head.fc.bias"] = np.zeros(10, np.float32)
    parameters["head.fc.weight"] = np.zeros((5, 32), np.float32)
    with pytest.raises(CheckpointError) as refused:
        checkpoints.restore(build("tiny", 10), parameters)
    for words in ("missing: head.fc.bias", "left over: moments.head.fc.bias", "shape (5, 32)"):
        assert words in str(refused.value)


def test_weights_that_are_no_floating_point_numbers_are_refused(written: Path) -> None:
    parameters = checkpoints.load(written).parameters
    parameters["head.fc.bias"] = np.zeros(10, np.int32)
    with pytest.raises(CheckpointError, match=r"head.fc.bias holds int32, not floating-point"):
        checkpoints.restore(build("tiny", 10), parameters)


def test_float16_weights_are_widened(written: Path) -> None:
    parameters = checkpoints.load(written).parameters
    half = parameters["head.fc.weight"].astype(np.float16)
    net = build("tiny", 10)
    checkpoints.restore(net, parameters | {"head.fc.weight": half})
    weight = net.head.fc.weight.asnumpy()
    assert weight.dtype == np.float32
    np.testing.assert_array_equal(weight, half)


@pytest.mark.parametrize("suffix", [".ckpt", ".json"])
def test_a_missing_file_is_named(written: Path, suffix: str) -> None:
    missing = written.with_suffix(suffix)
    missing.unlink()
    with pytest.raises(CheckpointError, match=rf"no file {missing}"):
        checkpoints.load(written)


def test_a_flipped_bit_is_noticed(written: Path) -> None:
    data = bytearray(written.read_bytes())
    data[len(data) // 2] ^= 1
    written.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"tiny.ckpt is damaged, or belongs to another"):
        checkpoints.load(written)


def test_files_of_two_checkpoints_are_no_checkpoint(written: Path, tmp_path: Path) -> None:
    info = checkpoints.load(written).info
    other = tmp_path / "other.ckpt"
    checkpoints.save(build("tiny", 10), info, other)
    other.with_suffix(".json").replace(written.with_suffix(".json"))
    with pytest.raises(CheckpointError, match=rf"its sha256 is {info.sha256}, the .json states"):
        checkpoints.load(written)


def without_digest(written: Path) -> None:
    text = written.with_suffix(".json")
    text.write_text(json.dumps(json.loads(text.read_text()) | {"sha256": None}))


def test_a_checkpoint_of_before_the_digest_still_loads(written: Path) -> None:
    parameters = checkpoints.load(written).parameters
    without_digest(written)
    again = checkpoints.load(written)
    assert again.info.sha256 is None
    assert again.parameters.keys() == parameters.keys()


def test_the_shipped_checkpoint_states_its_digest() -> None:
    shipped = checkpoints.load(ROOT / "models/checkpoints/fashion_resnext.ckpt")
    assert shipped.info.sha256 is not None
    assert shipped.info.metrics is not None


def test_damaged_weights_are_refused(written: Path) -> None:
    written.write_bytes(b"no weights")
    without_digest(written)
    with pytest.raises(CheckpointError, match=r"tiny.ckpt is not a checkpoint"):
        checkpoints.load(written)


def test_an_unknown_schema_is_refused(written: Path) -> None:
    text = written.with_suffix(".json")
    text.write_text(json.dumps(json.loads(text.read_text()) | {"schema": 2}))
    with pytest.raises(CheckpointError, match=r"schema"):
        checkpoints.load(written)
