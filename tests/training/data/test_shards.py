"""Tars and MindRecord files: the same images as in a folder, in the same order."""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mindspore.mindrecord import FileReader, FileWriter

from tests.training.data.test_batches import config, first_epoch
from tests.training.data.test_datasets import image_folder
from training.data.dataset import Dataset
from training.data.datasets import open_dataset
from training.errors import BrokenImageError, DatasetError

NAMES = ["ant", "bee", "cat"]
Files = Iterable[tuple[str, bytes]]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Dataset:
    """6 images of 3 classes, in a folder per class."""
    return open_dataset(image_folder(tmp_path / "folder", NAMES), "train")


def write_tar(path: Path, files: Files, mode: str = "w") -> Path:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def samples(folder: Dataset, order: Iterable[int], suffix: str = "cls") -> Files:
    """Images as WebDataset writes them; each has the name of its file, and its class beside it."""
    for index in order:
        label, path = folder.label(index), Path(folder.name(index))
        name = f"{path.parent.name}_{path.name}"
        about = {"label": label, "class_name": NAMES[label]}
        yield name, folder.encoded(index)
        yield (
            name.replace(".png", f".{suffix}"),
            {
                "cls": str(label),
                "json": json.dumps(about),
            }[suffix].encode(),
        )


def assert_same(found: Dataset, folder: Dataset, names: list[str] = NAMES) -> None:
    assert found.class_names == names
    assert [found.label(i) for i in range(len(found))] == [0, 1, 1, 2, 2, 2]
    for index in range(len(folder)):
        assert found.encoded(index) == folder.encoded(index)
        np.testing.assert_array_equal(found.rgb(index), folder.rgb(index))


def test_a_webdataset_of_several_shards_gives_the_epochs_of_the_folder(
    tmp_path: Path, folder: Dataset
) -> None:
    shuffled = [3, 0, 5, 1, 4, 2]
    for number, part in enumerate([shuffled[:2], shuffled[2:4], shuffled[4:]]):
        write_tar(tmp_path / f"shards/train-{number:02}.tar", samples(folder, part))
    (tmp_path / "shards/classnames.txt").write_text("ant\nbee\ncat\n")
    photographs = {"augmentation": "random_resized_crop", "per_batch_size": 3, "train_images": 6}
    expected = first_epoch(folder, config(**photographs))
    for data_dir in (tmp_path / "shards", tmp_path / "shards/train-{00..02}.tar"):
        found = open_dataset(data_dir, "train")
        assert_same(found, folder)
        assert found.source == data_dir
        np.testing.assert_array_equal(first_epoch(found, config(**photographs)), expected)
    assert found.name(0) == f"{tmp_path}/shards/train-00.tar, ant_0.png"


def test_classes_are_numbers_or_come_with_names(tmp_path: Path, folder: Dataset) -> None:
    numbers = write_tar(tmp_path / "a.tar", samples(folder, range(6)))
    assert_same(open_dataset(numbers, "train"), folder, ["0", "1", "2"])
    stated = write_tar(tmp_path / "b.tar", samples(folder, range(6), "json"))
    assert_same(open_dataset(stated, "train"), folder)


def test_a_name_may_stand_in_a_cls(tmp_path: Path, folder: Dataset) -> None:
    files = [
        (name, NAMES[int(data)].encode() if name.endswith(".cls") else data)
        for name, data in samples(folder, range(6))
    ]
    assert_same(open_dataset(write_tar(tmp_path / "c.tar", files), "train"), folder)


def test_a_plain_tar_of_folders_is_one_too(tmp_path: Path, folder: Dataset) -> None:
    with tarfile.open(tmp_path / "train.tar", "w") as tar:
        tar.add(folder.source, ".")
    assert_same(open_dataset(tmp_path / "train.tar", "train"), folder)


def test_splits_are_folders_of_shards(tmp_path: Path, folder: Dataset) -> None:
    for split, part in (("train", range(6)), ("test", [1, 2])):
        (tmp_path / "set" / split).mkdir(parents=True)
        write_tar(tmp_path / "set" / split / "0.tar", samples(folder, part))
    (tmp_path / "set/classnames.txt").write_text("ant\nbee\ncat\n")
    assert_same(open_dataset(tmp_path / "set", "train"), folder)
    test = open_dataset(tmp_path / "set", "test")
    assert (len(test), test.class_names) == (2, NAMES)


@pytest.mark.parametrize(
    ("files", "error"),
    [
        (
            [("a.png", b"")],
            "a.png has no class: there is no .cls of that name, no .json, no folder",
        ),
        ([("a.png", b""), ("a.json", b"{}")], "the class of a.png cannot be read: KeyError"),
        ([("a.png", b""), ("a.json", b"no")], "the class of a.png cannot be read: JSONDecodeError"),
        ([("a.txt", b"")], "no images in .*a.tar, though it has 1 shards"),
        (
            [("a.png", b""), ("a.cls", b"1"), ("b.png", b""), ("b.cls", b"bee")],
            "are numbers, but that of .*a.tar, b.png is 'bee'; a file classnames.txt there",
        ),
    ],
)
def test_what_a_tar_lacks_is_said(tmp_path: Path, files: Files, error: str) -> None:
    with pytest.raises(DatasetError, match=error):
        open_dataset(write_tar(tmp_path / "a.tar", files), "train")


def test_a_class_that_has_no_name_is_an_error(tmp_path: Path, folder: Dataset) -> None:
    path = write_tar(tmp_path / "a.tar", samples(folder, range(6)))
    (tmp_path / "classnames.txt").write_text("ant\nbee\n")
    with pytest.raises(DatasetError, match=r"cat_0.png is of class 2, which is not one of the 2"):
        open_dataset(path, "train")


def test_a_tar_that_is_compressed_cut_or_missing_is_an_error(
    tmp_path: Path, folder: Dataset
) -> None:
    zipped = write_tar(tmp_path / "z.tar", samples(folder, range(6)), "w:gz")
    with pytest.raises(DatasetError, match=r"z.tar is no whole tar: .* must be unpacked"):
        open_dataset(zipped, "train")
    whole = write_tar(tmp_path / "a-0.tar", samples(folder, range(6)))
    (tmp_path / "cut.tar").write_bytes(whole.read_bytes()[:1700])
    with pytest.raises(DatasetError, match=r"cut.tar is no whole tar: unexpected end of data"):
        open_dataset(tmp_path / "cut.tar", "train")
    with pytest.raises(DatasetError, match=r"names 3 files, but there is no .*/a-1.tar"):
        open_dataset(tmp_path / "a-{0..2}.tar", "train")
    (tmp_path / "a.zip").touch()
    with pytest.raises(DatasetError, match=r"a.zip is neither a tar .*, nor a MindRecord"):
        open_dataset(tmp_path / "a.zip", "train")


def test_a_tar_is_looked_through_once(
    tmp_path: Path, folder: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tar(tmp_path / "b.tar", samples(folder, range(6), "json"))
    assert_same(open_dataset(path, "train"), folder)
    [index] = (tmp_path / "cache/resnext-serving/tars").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(tarfile, "open", None)
        assert_same(open_dataset(path, "train"), folder)
    index.write_text("[")
    assert_same(open_dataset(path, "train"), folder)
    assert json.loads(index.read_text())
    assert len(open_dataset(write_tar(path, samples(folder, [1, 2], "json")), "train")) == 2


def test_an_index_that_cannot_be_kept_is_said(
    tmp_path: Path, folder: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").touch()
    assert_same(
        open_dataset(write_tar(tmp_path / "b.tar", samples(folder, range(6), "json")), "train"),
        folder,
    )
    assert f"the index of {tmp_path}/b.tar is not kept: " in caplog.text


def test_an_image_beyond_the_end_is_named(tmp_path: Path, folder: Dataset) -> None:
    path = write_tar(tmp_path / "a.tar", samples(folder, range(6)))
    found = open_dataset(path, "train")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(BrokenImageError, match=r"a.tar, cat_2.png is not .*: .*a.tar ends within"):
        found.rgb(5)


def write_mindrecord(
    path: Path, folder: Dataset, order: Iterable[int], schema: dict[str, Any], shards: int = 1
) -> Path:
    writer = FileWriter(str(path), shards, overwrite=True)
    writer.add_schema(schema, "images")
    rows = []
    for index in order:
        name = Path(folder.name(index))
        values = {
            "image": folder.encoded(index),
            "label": folder.label(index),
            "file_name": f"{name.parent.name}_{name.name}",
            "before": b"other bytes",
            "mask": np.arange(6, dtype=np.int32),
        }
        rows.append({field: values[field] for field in schema})
    writer.write_raw_data(rows)
    writer.commit()
    return path


IMAGE_LABEL = {"image": {"type": "bytes"}, "label": {"type": "int32"}}
NAMED = IMAGE_LABEL | {"file_name": {"type": "string"}}
SEVERAL = NAMED | {"before": {"type": "bytes"}, "mask": {"type": "int32", "shape": [-1]}}


@pytest.mark.parametrize("schema", [NAMED, SEVERAL])
def test_a_mindrecord_gives_the_images_of_the_folder_and_of_its_own_reader(
    tmp_path: Path, folder: Dataset, schema: dict[str, Any]
) -> None:
    path = write_mindrecord(tmp_path / "a.mindrecord", folder, [3, 0, 5, 1, 4, 2], schema)
    found = open_dataset(path, "train")
    assert_same(found, folder, ["0", "1", "2"])
    reader = FileReader(str(path))
    rows = {row["file_name"]: (row["image"], row["label"]) for row in reader.get_next()}
    reader.close()
    assert len(rows) == len(found)
    for index in range(len(found)):
        name = found.name(index).removeprefix(f"{path}, ")
        assert rows[name] == (found.encoded(index), found.label(index))


def test_a_mindrecord_of_several_files_without_names(tmp_path: Path, folder: Dataset) -> None:
    (tmp_path / "set").mkdir()
    write_mindrecord(tmp_path / "set/m", folder, range(6), IMAGE_LABEL, shards=2)
    (tmp_path / "set/classnames.txt").write_text("ant\nbee\ncat\n")
    for data_dir in (tmp_path / "set", tmp_path / "set/m{0..1}"):
        found = open_dataset(data_dir, "train")
        assert found.class_names == NAMES
        assert [found.label(i) for i in range(6)] == [0, 1, 1, 2, 2, 2]
        kept = {found.encoded(i) for i in range(6)}
        assert kept == {folder.encoded(i) for i in range(6)}


def test_a_mindrecord_without_labels_or_damaged_is_an_error(
    tmp_path: Path, folder: Dataset
) -> None:
    path = write_mindrecord(
        tmp_path / "a",
        folder,
        range(6),
        {"image": {"type": "bytes"}, "file_name": {"type": "string"}},
    )
    with pytest.raises(DatasetError, match=r"a has no index of a field label"):
        open_dataset(path, "train")
    path = write_mindrecord(
        tmp_path / "b", folder, range(6), {"mask": SEVERAL["mask"], "label": {"type": "int32"}}
    )
    with pytest.raises(DatasetError, match=r"b has no field image or data of type bytes"):
        open_dataset(path, "train")
    path.write_bytes(b"no such file")
    with pytest.raises(DatasetError, match=r"b is damaged, or no MindRecord file"):
        open_dataset(path, "train")
