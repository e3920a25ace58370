"""A file may be anything: it is read whole, or refused at once in a sentence."""

import os
import socket
from pathlib import Path

import pytest

from clients.reading import FileTooLargeError, read_file


def test_a_file_is_read_whole_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("x")
    assert read_file(tmp_path / "link", 5) == b"12345"


@pytest.mark.parametrize("size", [6, 2**40])
def test_a_file_too_large_is_not_read(size: int, tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        file.truncate(size)
    with pytest.raises(FileTooLargeError, match=f"has {size} bytes; at most 5 can be sent"):
        read_file(tmp_path / "x", 5)


def test_a_file_that_hides_its_size_is_read_no_further_than_the_limit() -> None:
    path = Path("/proc/self/smaps")
    assert path.stat().st_size == 0
    with pytest.raises(FileTooLargeError):
        read_file(path, 5)


@pytest.mark.parametrize("kind", ["a named pipe", "a socket", "a device", "a folder"])
def test_what_is_no_file_is_named(kind: str, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "x"
    if kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as listener:
            monkeypatch.chdir(tmp_path)  # the path of a socket may have 107 bytes
            listener.bind("x")
    with pytest.raises(OSError, match=f"it is {kind}, not a file"):
        read_file(path, 5)


def test_a_file_that_becomes_a_pipe_does_not_block(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x")
    found = path.stat()
    path.unlink()
    os.mkfifo(path)
    monkeypatch.setattr(Path, "stat", lambda _: found)
    with pytest.raises(OSError, match="it is a named pipe"):
        read_file(path, 5)
