"""Which files a command line names, and how they are grouped into requests."""

from pathlib import Path

import pytest

from clients.files import UsageError, find_images, split


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "a.JPG", "notes.txt", "deep/c.webp", "deep/d [1].bmp"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * 10)
    return tmp_path


def _names(folder: Path, *patterns: str) -> list[str]:
    found = find_images(str(folder / pattern) for pattern in patterns)
    return [str(path.relative_to(folder)) for path in found]


def test_a_folder_is_searched_whole_by_suffix(folder):
    assert _names(folder, "") == ["a.JPG", "b.png", "deep/c.webp", "deep/d [1].bmp"]


def test_a_named_file_is_taken_whatever_its_suffix(folder):
    assert _names(folder, "notes.txt", "b.png") == ["notes.txt", "b.png"]


def test_globs_match_files_and_folders(folder):
    assert _names(folder, "*.png") == ["b.png"]
    assert _names(folder, "**/*.webp") == ["deep/c.webp"]
    assert _names(folder, "d*") == ["deep/c.webp", "deep/d [1].bmp"]


def test_a_file_name_with_brackets_is_no_glob(folder):
    assert _names(folder, "deep/d [1].bmp") == ["deep/d [1].bmp"]


def test_a_file_named_twice_comes_once(folder):
    assert _names(folder, "b.png", "*.png") == ["b.png"]


def test_what_stands_for_nothing_is_named(folder):
    with pytest.raises(UsageError, match=r"no such file, folder or glob: .*/nothing\.png"):
        _names(folder, "b.png", "nothing.png")
    (folder / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no images \(\.bmp, .*\) in folder .*/empty"):
        _names(folder, "empty")


def test_groups_are_bounded_in_images_and_in_bytes(folder):
    paths = [folder / "b.png"] * 5
    assert [len(g) for g in split(paths, max_images=2, max_bytes=1000)] == [2, 2, 1]
    assert [len(g) for g in split(paths, max_images=9, max_bytes=29)] == [2, 2, 1]
    assert [len(g) for g in split(paths, max_images=9, max_bytes=1)] == [1] * 5
