"""Which files a command line names, and how they are grouped into requests."""

import os
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


def test_a_real_file_comes_once_by_the_name_that_came_first(folder):
    (folder / "a_link.png").symlink_to("b.png")
    (folder / "z_link.png").symlink_to("a_link.png")
    assert _names(folder, "") == ["a.JPG", "a_link.png", "deep/c.webp", "deep/d [1].bmp"]
    assert _names(folder, "b.png", "z_link.png") == ["b.png"]


@pytest.mark.parametrize("pattern", ["", "**/*", "*", "deep"])
def test_links_that_run_in_a_circle_end(folder, pattern):
    for name in ("loop", "again", "deep/up", "deep/loop"):
        (folder / name).symlink_to(folder)
    (folder / "self.png").symlink_to("self.png")
    names = _names(folder, pattern)
    assert len(names) < 10
    assert [name for name in names if name.endswith("c.webp")]


def test_what_is_no_file_is_found_too(folder):
    os.mkfifo(folder / "pipe.png")
    (folder / "broken.png").symlink_to("nothing")
    (folder / "folder.png").mkdir()
    found = ["a.JPG", "b.png", "broken.png", "deep/c.webp", "deep/d [1].bmp", "pipe.png"]
    assert _names(folder, "") == found


def test_a_glob_takes_no_hidden_file_unless_it_says_so(folder):
    (folder / ".b.png").write_bytes(b"x")
    assert _names(folder, "*.png") == ["b.png"]
    assert _names(folder, ".*.png") == [".b.png"]


def test_a_glob_may_match_a_folder_without_images(folder):
    (folder / "empty").mkdir()
    assert _names(folder, "[be]*") == ["b.png"]


@pytest.mark.parametrize("name", ["n" * 300, "n" * 300 + "*", "a**b", ""])
def test_a_name_that_cannot_be_is_a_wrong_call(name):
    with pytest.raises(UsageError):
        find_images([name])


def test_what_stands_for_nothing_is_named(folder):
    with pytest.raises(UsageError, match=r"no such file, folder or glob: .*/nothing\.png"):
        _names(folder, "b.png", "nothing.png")
    (folder / "empty").mkdir()
    with pytest.raises(UsageError, match=r"no images \(\.bmp, .*\) in .*/empty"):
        _names(folder, "empty")


def test_groups_are_bounded_in_images_and_in_bytes(folder):
    paths = [folder / "b.png"] * 5
    assert [len(g) for g in split(paths, max_images=2, max_bytes=1000)] == [2, 2, 1]
    assert [len(g) for g in split(paths, max_images=9, max_bytes=29)] == [2, 2, 1]
    assert [len(g) for g in split(paths, max_images=9, max_bytes=1)] == [1] * 5
