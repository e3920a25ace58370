"""metrics.jsonl of a run that a kill or a full disk cuts short."""

import logging
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from training.errors import CheckpointError, OutputError
from training.run.report import EpochRecord, Report


def record(epoch: int) -> EpochRecord:
    return EpochRecord(
        epoch=epoch,
        step=10 * epoch,
        loss=1.0,
        lr=0.1,
        seconds=1.0,
        images_per_second=10.0,
        data_wait_share=0.0,
        top1=None,
        top5=None,
    )


def lines(epochs: int) -> str:
    return "".join(f"{record(epoch + 1).model_dump_json()}\n" for epoch in range(epochs))


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A limit on the size of files fails a write as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def resumed(folder: Path, content: str, epoch: int) -> Report:
    (folder / "metrics.jsonl").write_text(content)
    report = Report(folder)
    report.resume(epoch)
    return report


def test_a_resumed_report_goes_on_after_the_epoch(tmp_path: Path) -> None:
    resumed(tmp_path, lines(4), epoch=2).add(record(3))
    assert (tmp_path / "metrics.jsonl").read_text() == lines(3)


def test_a_last_line_that_was_cut_short_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        resumed(tmp_path, lines(3)[:-20], epoch=3)
    assert (tmp_path / "metrics.jsonl").read_text() == lines(2)
    assert "metrics.jsonl: line 3, the last, was cut short and is left out" in caplog.text


def test_any_other_line_that_is_no_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"metrics.jsonl: line 1 is not an epoch"):
        resumed(tmp_path, "{}\n" + lines(1), epoch=3)


@pytest.mark.parametrize(("name", "size"), [("training.png", 1000), ("metrics.jsonl", 200_000)])
def test_a_full_disk_is_an_error_that_says_so(tmp_path: Path, name: str, size: int) -> None:
    content = lines(2000)
    report = resumed(tmp_path, content, epoch=2000)
    with largest_file(size), pytest.raises(OutputError, match=f"{name}: File too large; make room"):
        report.add(record(2001))
    assert (tmp_path / "metrics.jsonl").read_text() == content


def test_a_disk_that_is_full_on_resuming_leaves_the_records(tmp_path: Path) -> None:
    report = resumed(tmp_path, lines(10), epoch=10)
    with largest_file(500), pytest.raises(OutputError, match=r"metrics.jsonl: File too large"):
        report.resume(10)
    assert (tmp_path / "metrics.jsonl").read_text() == lines(10)
