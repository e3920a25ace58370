"""Folders of photos without classes."""

from pathlib import Path

import pytest
from PIL import Image

from export.evaluation_set import open_images
from export.photos import open_photos
from images.transform import Size, Stretch, Transform
from tests.export.images import varied

TRANSFORM = Transform(resize=Stretch(height=8, width=8), crop=Size(height=8, width=8))


def write(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, pixels in enumerate(varied(count, 8)):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def names(folder: Path, split: str) -> list[str] | None:
    photos = open_photos(folder, split)  # type: ignore[arg-type]
    return photos and [Path(name).name for name in photos.names]


def test_of_a_flat_folder_every_second_photo_is_compared(tmp_path: Path) -> None:
    photos = write(tmp_path / "photos", 5)
    (photos / ".hidden.png").write_bytes(b"?")
    (photos / "notes.txt").write_text("by the sea")
    assert names(photos, "test") == ["0.png", "2.png", "4.png"]
    assert names(photos, "train") == ["1.png", "3.png"]
    images = open_images(photos, ["ant", "bee"], TRANSFORM)
    assert (images.name, len(images), images.labels) == ("photos/test", 3, None)
    assert images.title(1) == str(photos / "2.png")


def test_somebody_may_say_which_are_which(tmp_path: Path) -> None:
    write(tmp_path / "train", 3)
    write(tmp_path / "val", 2)
    assert names(tmp_path, "train") == ["0.png", "1.png", "2.png"]
    assert names(tmp_path, "test") == ["0.png", "1.png"]


@pytest.mark.parametrize("folder", ["ant", "val/ant"])
def test_photos_in_folders_have_classes(tmp_path: Path, folder: str) -> None:
    write(tmp_path / folder, 2)
    write((tmp_path / folder).parent, 2)
    assert names(tmp_path, "test") is None
    images = open_images(tmp_path, ["ant", "bee"], TRANSFORM)
    assert images.labels is not None
    assert images.labels.tolist() == [0, 0]


def test_where_there_are_none_there_is_nothing(tmp_path: Path) -> None:
    assert open_photos(tmp_path / "nowhere", "test") is None
    assert open_photos(tmp_path, "test") is None
