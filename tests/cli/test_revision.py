"""The revision that a checkpoint, a bundle and a record name."""

import subprocess
from pathlib import Path

import pytest

from cli.program import revision

AUTHOR = ("-c", "user.name=nobody", "-c", "user.email=nobody@localhost")


def git(folder: Path, *arguments: str) -> str:
    command = ["git", *AUTHOR, *arguments]
    done = subprocess.run(command, cwd=folder, check=True, text=True, stdout=subprocess.PIPE)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "loop.py").write_text("steps = 1\n")
    git(tmp_path, "add", "loop.py")
    git(tmp_path, "commit", "--quiet", "--message", "Begin")
    return tmp_path


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    assert revision(checkout) == git(checkout, "rev-parse", "HEAD")


@pytest.mark.parametrize("name", ["loop.py", "new.py"])
def test_changed_and_new_files_make_it_dirty(checkout: Path, name: str) -> None:
    (checkout / name).write_text("steps = 2\n")
    assert revision(checkout) == git(checkout, "rev-parse", "HEAD") + "-dirty"


def test_outside_a_checkout_there_is_none(tmp_path: Path) -> None:
    assert revision(tmp_path) is None


def test_without_git_there_is_none(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert revision(checkout) is None
