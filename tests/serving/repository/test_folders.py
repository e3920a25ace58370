import os
from pathlib import Path

import pytest

from serving.repository.folders import scan
from tests.support.bundles import write_bundle


def test_what_there_is_and_what_it_lacks(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    (tmp_path / "tiny/2").mkdir()
    (tmp_path / "tiny/.hidden").mkdir()
    (tmp_path / "other").mkdir()
    found = scan(tmp_path)
    assert {name: [*versions] for name, versions in found.folders.items()} == {
        "other": [],
        "tiny": ["1", "2"],
    }
    assert not found.is_empty
    assert found.folders["tiny"]["1"].lack == ""
    assert "no bundle.sha256 and no manifest.json" in found.folders["tiny"]["2"].lack
    deep = scan(tmp_path / "tiny").folders["1"]["golden"].lack
    assert deep.startswith(f"{tmp_path / 'tiny/1'} is a bundle, which has to be in <name>/")


def test_a_look_changes_with_a_file_and_with_nothing_else(tmp_path: Path) -> None:
    path = write_bundle(tmp_path)

    def look() -> object:
        return scan(tmp_path).folders["tiny"]["1"].look

    before = look()
    assert look() == before
    os.utime(path / "golden/golden.json", ns=(1, 1))
    assert look() != before


def test_without_a_seal_nothing_is_looked_at_below(tmp_path: Path) -> None:
    deep = tmp_path / "share/doc/a/b/c"
    deep.mkdir(parents=True)
    (deep / "file").write_text("x")
    assert scan(tmp_path).folders["share"]["doc"].look == ()


def test_a_folder_that_cannot_be_listed_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bundle(tmp_path)
    write_bundle(tmp_path, "other")
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "other":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root may list everything
    found = scan(tmp_path)
    assert [*found.folders] == ["tiny"]
    assert "other cannot be read: Permission denied" in found.unreadable["other"]
