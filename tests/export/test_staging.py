"""A bundle appears whole or not at all."""

import stat
from pathlib import Path

import pytest

from export.errors import ExportError
from export.staging import next_version, staged


def write(target: Path, text: str, *, overwrite: bool = False) -> None:
    with staged(target, overwrite=overwrite) as directory:
        (directory / "golden").mkdir()
        (directory / "golden/a.txt").write_text(text)
        (directory / "golden/a.txt").chmod(0o400)


def test_appears_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "net/1"
    with staged(target, overwrite=False) as directory:
        (directory / "a.txt").write_text("a")
        assert not target.exists()
    assert (target / "a.txt").read_text() == "a"
    assert list(target.parent.iterdir()) == [target]


def test_everyone_may_read_it(tmp_path: Path) -> None:
    write(tmp_path / "1", "a")
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "1").rglob("*")}
    assert modes == {
        tmp_path / "1/golden": 0o755,
        tmp_path / "1/golden/a.txt": 0o644,
    }
    assert stat.S_IMODE((tmp_path / "1").stat().st_mode) == 0o755


@pytest.mark.parametrize("failure", [ExportError, KeyboardInterrupt])
def test_leaves_nothing_behind_when_the_block_fails(
    tmp_path: Path, failure: type[BaseException]
) -> None:
    write(tmp_path / "1", "old")

    def fail() -> None:
        with staged(tmp_path / "1", overwrite=True) as directory:
            (directory / "half.txt").write_text("half")
            raise failure

    with pytest.raises(failure):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    assert (tmp_path / "1/golden/a.txt").read_text() == "old"


def test_replaces_a_version_only_when_told_to(tmp_path: Path) -> None:
    write(tmp_path / "1", "old")
    with pytest.raises(ExportError, match=r"1 exists; choose another --version, .*--overwrite"):
        write(tmp_path / "1", "new")
    assert (tmp_path / "1/golden/a.txt").read_text() == "old"
    write(tmp_path / "1", "new", overwrite=True)
    assert (tmp_path / "1/golden/a.txt").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_a_version_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    def export() -> None:
        with staged(tmp_path / "1", overwrite=False) as directory:
            (directory / "a.txt").write_text("mine")
            write(tmp_path / "1", "another's")

    with pytest.raises(ExportError, match="1 exists"):
        export()
    assert (tmp_path / "1/golden/a.txt").read_text() == "another's"
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_the_old_version_comes_back_where_the_new_one_cannot_appear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "1", "old")
    rename = Path.rename

    def full(self: Path, target: Path) -> Path:
        if (self / "golden/a.txt").read_text() == "new":
            raise OSError("no space left")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="no space left"):
        write(tmp_path / "1", "new", overwrite=True)
    assert (tmp_path / "1/golden/a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_the_next_version_is_the_one_after_the_highest(tmp_path: Path) -> None:
    assert next_version(tmp_path / "nothing") == "1"
    for name in ("1", "2", "10", "trial", ".3-x"):
        (tmp_path / name).mkdir()
    assert next_version(tmp_path) == "11"


def test_a_place_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ExportError, match=r"cannot write .*Not a directory"),
        staged(tmp_path / "file" / "net" / "1", overwrite=False),
    ):
        pass
