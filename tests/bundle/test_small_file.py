"""Files that are exchanged for something else while the server reads them."""

import os
from pathlib import Path

import pytest

from bundle.small_file import NotAFileError, read_small


def test_no_more_than_a_byte_too_many_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_small(path, 5) == b"12345"
    assert read_small(path, 3) == b"1234"


def test_what_is_no_file_keeps_nobody_waiting_and_nothing_open(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    for path in (tmp_path / "pipe", tmp_path / "link", tmp_path, Path("/dev/null")):
        with pytest.raises(NotAFileError, match=f"{path} is not a file"):
            read_small(path, 5)
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


def test_what_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_small(tmp_path / "gone", 5)
