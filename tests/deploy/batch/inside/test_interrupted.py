"""A run that is interrupted or killed goes on, and its rows are those of a run that was not."""

import signal
from pathlib import Path
from typing import Any

import pytest
from conftest import QUICK, parts, rows, start, until

IMAGES, SHARD = 3000, 20
FLAGS = ("--shard-images", str(SHARD), *QUICK)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_it_goes_on(
    photos: Path, undisturbed: list[dict[str, Any]], tmp_path: Path, how: signal.Signals
) -> None:
    for _ in range(2):
        process = start(photos, tmp_path, *FLAGS)
        before = len(parts(tmp_path))
        until(lambda before=before: len(parts(tmp_path)) > before, process)
        process.send_signal(how)
        _, err = process.communicate()
        if how == signal.SIGINT:
            assert process.returncode == 130
            assert "interrupted: the same command goes on from here" in err
        else:
            assert process.returncode == -how
        assert "Traceback" not in err
    done = {part: part.stat().st_mtime_ns for part in parts(tmp_path)}
    assert 2 <= len(done) < IMAGES // SHARD
    process = start(photos, tmp_path, *FLAGS)
    _, err = process.communicate()
    assert process.returncode == 0
    assert f"; {len(done) * SHARD} are done" in err
    assert rows(tmp_path) == undisturbed
    assert {part: part.stat().st_mtime_ns for part in done} == done  # none was written again
    assert not list(tmp_path.glob("._*"))


def test_ctrl_c_while_it_loads(photos: Path, tmp_path: Path) -> None:
    process = start(photos, tmp_path, *FLAGS)
    until(lambda: (tmp_path / "_manifest.json").exists(), process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in err
