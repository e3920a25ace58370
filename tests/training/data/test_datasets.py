"""Datasets on disk: the real Fashion-MNIST, and small folders made here."""

import gzip
import io
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from images.decoders import decode
from tests.support.paths import FASHION_MNIST
from training.data.dataset import Dataset
from training.data.datasets import beside, log_contents, open_dataset
from training.errors import DatasetError


def image_folder(root: Path, names: list[str]) -> Path:
    """Make one class folder per name; class i holds i + 1 images of one grey, 10 * i."""
    for index, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for copy in range(index + 1):
            grey = np.full((4, 6, 3), 10 * index, np.uint8)
            Image.fromarray(grey).save(root / name / f"{copy}.png")
    return root


def test_fashion_mnist_is_whole(test_set: Dataset) -> None:
    train = open_dataset(FASHION_MNIST, "train")
    assert (len(train), len(test_set)) == (60_000, 10_000)
    assert train.class_names[9] == "Ankle boot"
    assert np.bincount([test_set.label(i) for i in range(10_000)]).tolist() == [1000] * 10


def test_known_images(test_set: Dataset) -> None:
    names = [test_set.class_names[test_set.label(i)] for i in range(4)]
    assert names == ["Ankle boot", "Pullover", "Trouser", "Trouser"]


def test_grey_becomes_three_equal_channels_and_a_png_of_the_same_pixels(test_set: Dataset) -> None:
    rgb = test_set.rgb(0)
    assert (rgb.shape, rgb.dtype, rgb.max()) == ((28, 28, 3), np.uint8, 255)
    assert (rgb[:, :, 0] == rgb[:, :, 2]).all()
    png = Image.open(io.BytesIO(test_set.encoded(0)))
    assert (png.format, png.mode) == ("PNG", "L")
    np.testing.assert_array_equal(np.asarray(png), rgb[:, :, 0])


def test_idx_files_need_not_be_zipped(tmp_path: Path, test_set: Dataset) -> None:
    folder = tmp_path / "my-fashion"
    folder.mkdir()
    for zipped in FASHION_MNIST.glob("t10k-*.gz"):
        (folder / zipped.stem).write_bytes(gzip.decompress(zipped.read_bytes()))
    plain = open_dataset(folder, "test")
    assert plain.class_names == test_set.class_names
    np.testing.assert_array_equal(plain.rgb(77), test_set.rgb(77))


def test_a_truncated_idx_file_is_named(tmp_path: Path) -> None:
    for zipped in FASHION_MNIST.glob("t10k-*.gz"):
        (tmp_path / zipped.stem).write_bytes(gzip.decompress(zipped.read_bytes())[:5000])
    with pytest.raises(DatasetError, match=r"t10k-images.* is not a complete IDX file"):
        open_dataset(tmp_path, "test")


def test_folders_are_classes_in_order_of_name(tmp_path: Path) -> None:
    dataset = open_dataset(image_folder(tmp_path, ["ant", "bee", "cat"]), "train")
    assert dataset.class_names == ["ant", "bee", "cat"]
    assert [dataset.label(i) for i in range(len(dataset))] == [0, 1, 1, 2, 2, 2]
    assert (dataset.rgb(5) == 20).all()
    assert dataset.encoded(5) == (tmp_path / "cat/2.png").read_bytes()


def test_train_and_val_are_found_below_a_common_folder(tmp_path: Path) -> None:
    image_folder(tmp_path / "train", ["ant", "bee"])
    image_folder(tmp_path / "val", ["ant", "bee", "cat"])
    assert len(open_dataset(tmp_path, "train")) == 3
    assert len(open_dataset(tmp_path, "test")) == 6


def test_val_beside_train_is_found(tmp_path: Path) -> None:
    for name in ("train", "val", "other"):
        (tmp_path / name).mkdir()
    assert beside(tmp_path / "train") == tmp_path / "val"
    assert beside(tmp_path / "other") == tmp_path / "other"
    (tmp_path / "val").rmdir()
    assert beside(tmp_path / "train") == tmp_path / "train"


def test_one_source_tells_that_the_images_are_the_same(tmp_path: Path) -> None:
    image_folder(tmp_path / "train", ["ant", "bee"])
    (tmp_path / "link").symlink_to("train")
    whole = open_dataset(tmp_path / "train", "train").source
    for folder in ("train", "link", "train/../train"):
        assert open_dataset(tmp_path / folder, "test").source == whole
    image_folder(tmp_path / "val", ["ant", "bee"])
    assert open_dataset(tmp_path, "train").source == whole
    assert open_dataset(tmp_path, "test").source != whole
    assert open_dataset(FASHION_MNIST, "train").source != open_dataset(FASHION_MNIST, "test").source


def test_what_was_looked_for_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"t10k-images-idx3-ubyte.*dataset-fashion-mnist"):
        open_dataset(tmp_path, "test")
    with pytest.raises(DatasetError, match=r"no folder .*/nowhere"):
        open_dataset(tmp_path / "nowhere", "train")


def test_files_are_decoded_as_serving_decodes_them(tmp_path: Path) -> None:
    (tmp_path / "ant").mkdir()
    turned = Image.Exif()
    turned[0x0112] = 6  # orientation: the top is on the right
    Image.new("RGB", (6, 4), "red").save(tmp_path / "ant/0.jpg", exif=turned)
    Image.fromarray(np.full((4, 6), 0xABCD, np.uint16)).save(tmp_path / "ant/1.png")
    dataset = open_dataset(tmp_path, "train")
    assert dataset.rgb(0).shape == (6, 4, 3)
    assert (dataset.rgb(1) == 0xAB).all()
    np.testing.assert_array_equal(dataset.rgb(0), decode(dataset.encoded(0)))


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    dataset = open_dataset(image_folder(tmp_path, ["ant"]), "train")
    (tmp_path / "ant/0.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match=r"ant/0.png is not a readable image"):
        dataset.rgb(0)


def test_what_counts_and_what_is_left_out_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    image_folder(tmp_path, ["ant", "bee"])
    for name in (
        "ant/notes.txt",
        "ant/scan.tif",
        "bee/.hidden.png",
        "bee/more/1.png",
        "bee/LICENSE",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "bee/1.png").rename(tmp_path / "bee/1.JFIF")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "empty").mkdir()
    dataset = open_dataset(tmp_path, "train")
    log_contents(dataset)
    assert (dataset.class_names, len(dataset)) == (["ant", "bee", "empty"], 3)
    assert f"{tmp_path}: 3 images of 3 classes: ant, bee, empty" in caplog.text
    assert f"{tmp_path}: no images of empty" in caplog.text
    for words in (
        "1 hidden folders", "1 files .txt", "1 files .tif", "1 hidden files",
        "1 folders within a class", "1 files without a suffix", "read are .jpg, .jpeg, .jfif",
    ):  # fmt: skip
        assert words in caplog.text


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    image_folder(tmp_path, ["ant"])
    (tmp_path / "ant/0.png").rename(tmp_path / "ant" / os.fsdecode(b"\xff.png"))
    with pytest.raises(DatasetError, match=r"ant/\\udcff\.png: its name is not UTF-8; rename it"):
        open_dataset(tmp_path, "train")
