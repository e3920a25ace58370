"""What is found in a source, in which order, and what is said of one that is not usable."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import picture, write_pictures, write_tar

from deploy.batch.errors import DatasetError
from deploy.batch.item import Item, Trouble
from deploy.batch.sources.files import Files
from deploy.batch.sources.listing import list_source
from deploy.batch.sources.parquet import Paths, Rows, choose_column
from deploy.batch.sources.tars import Tars
from images.limits import ImageLimits

LIMITS = ImageLimits(max_image_bytes=10_000)


def found(source: Path | str) -> list[str]:
    return list(list_source(str(source))[1])


def items(source: Any) -> list[Item]:
    return [item for group in source.groups() for item in group]


def test_a_folder_is_searched_recursively_in_a_fixed_order(tmp_path: Path) -> None:
    paths = write_pictures(tmp_path, 6)
    (tmp_path / "B.JPG").touch()
    (tmp_path / "notes.txt").touch()
    assert found(tmp_path) == [str(tmp_path / "B.JPG"), *map(str, paths)]


def test_other_files_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_pictures(tmp_path, 1)
    (tmp_path / "notes.txt").touch()
    found(tmp_path)
    assert (
        "left out: 1 files that are neither images, Parquet files nor tars (1 .txt)" in caplog.text
    )


def test_links_to_folders_are_followed_each_folder_once(tmp_path: Path) -> None:
    paths = write_pictures(tmp_path / "photos", 2)
    (tmp_path / "photos/loop").symlink_to(tmp_path / "photos")
    (tmp_path / "photos/self").symlink_to(tmp_path / "photos/self")  # leads nowhere
    (tmp_path / "again").symlink_to(tmp_path / "photos")
    assert len(found(tmp_path)) == len(paths)
    assert found(tmp_path / "again") == [
        str(tmp_path / "again" / path.relative_to(tmp_path / "photos")) for path in paths
    ]


def test_a_glob_names_files_once_whatever_their_suffix(tmp_path: Path) -> None:
    paths = write_pictures(tmp_path, 4)
    (tmp_path / "ants/odd.data").write_bytes(picture(9))
    (tmp_path / "ants/.hidden.png").write_bytes(picture(9))
    assert found(f"{tmp_path}/**/*.png") == [*map(str, paths)]
    assert found(f"{tmp_path}/ants/odd*") == [f"{tmp_path}/ants/odd.data"]


def test_a_name_that_looks_like_a_glob_is_a_name(tmp_path: Path) -> None:
    (tmp_path / "a[1]").mkdir()
    (tmp_path / "a[1]/x.png").touch()
    assert found(tmp_path / "a[1]") == [f"{tmp_path}/a[1]/x.png"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing", "there is no "),
        ("missing/*.png", "nothing matches "),
        ("a**b/*", "Invalid pattern"),
        ("empty", "holds no images"),
        ("mixed", "mixes kinds: .*a.png is of kind image, .*b.tar of kind tar"),
        ("packed", "packed.tar.gz is a compressed tar.*unpack it"),
    ],
)
def test_a_source_that_is_not_usable(tmp_path: Path, name: str, said: str) -> None:
    for folder, files in {"empty": ["x.txt"], "mixed": ["a.png", "b.tar"]}.items():
        (tmp_path / folder).mkdir()
        for file in files:
            (tmp_path / folder / file).touch()
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed/packed.tar.gz").touch()
    with pytest.raises(DatasetError, match=said):
        found(tmp_path / name)


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    good, large, pipe = tmp_path / "good.png", tmp_path / "large.png", tmp_path / "pipe.png"
    good.write_bytes(picture(1))
    large.write_bytes(bytes(10_001))
    os.mkfifo(pipe)
    names = [good, large, pipe, tmp_path / "gone.png", tmp_path]
    source = Files(map(str, names), LIMITS)
    content, *troubles = source.read(items(source))
    assert content == picture(1)
    assert troubles == [
        Trouble("INVALID", "the file is larger; max_image_bytes allows at most 10000"),
        Trouble("UNREADABLE", "the file cannot be read: it is a named pipe, not a file"),
        Trouble("UNREADABLE", "the file cannot be read: No such file or directory"),
        Trouble("UNREADABLE", "the file cannot be read: it is a folder, not a file"),
    ]


def test_a_tar_gives_its_images(tmp_path: Path) -> None:
    long = "x" * 200
    members = [
        ("a/1.jpg", b"one"),
        ("a/1.cls", b"7"),
        ("a/2.seg.PNG", b"two"),
        (f"{long}.png", b"3"),
    ]
    path = write_tar(tmp_path / "x.tar", members)
    source = Tars(iter([str(path)]), LIMITS)
    assert [item.key for item in items(source)] == ["a/1.jpg", "a/2.seg.PNG", f"{long}.png"]
    source = Tars(iter([str(path)]), LIMITS)
    assert list(source.read(items(source))) == [b"one", b"two", b"3"]


@pytest.mark.parametrize(
    ("change", "key", "said"),
    [
        (lambda data: data[: 512 + 1024 + 512 + 100], "2.png", "the tar ends 400 B too early"),
        (lambda data: data[: 512 + 1024], "(the rest of the tar)", "it was cut off"),
        (lambda data: data[: 512 + 1024 + 99], "(the rest of the tar)", "it was cut off"),
        (
            lambda data: data[: 512 + 1024] + b"\xff" * 512 + data[512 + 1024 + 512 :],
            "(the rest of the tar)",
            "the tar is damaged at byte 1536",
        ),
        (lambda _: b"no tar at all" * 99, "(the rest of the tar)", "the tar is damaged: "),
        (lambda _: b"", "(the rest of the tar)", "the tar is damaged: empty file"),
        (lambda data: data + data, "(the rest of the tar)", "something follows the end of the tar"),
    ],
)
def test_a_damaged_tar_says_so_in_a_row(tmp_path: Path, change: Any, key: str, said: str) -> None:
    path = write_tar(tmp_path / "x.tar", [("1.png", b"1" * 1000), ("2.png", b"2" * 500)])
    path.write_bytes(change(path.read_bytes()))
    source = Tars(iter([str(path)]), LIMITS)
    listed = items(source)
    *contents, last = source.read(listed)
    assert contents in ([b"1" * 1000, b"2" * 500], [b"1" * 1000], [])
    assert listed[-1].key == key
    assert isinstance(last, Trouble)
    assert last.status == "UNREADABLE"
    assert said in last.reason


def test_members_that_do_not_lie_in_the_tar_have_rows_that_say_so(tmp_path: Path) -> None:
    """GNU tar writes the second name of a file as a link, and with --sparse no holes."""
    held = tmp_path / "held"
    held.mkdir()
    (held / "1.png").write_bytes(b"1" * 500)
    (held / "2.png").hardlink_to(held / "1.png")
    (held / "3.png").symlink_to("\x1b1.png")
    with (held / "4.png").open("wb") as file:
        file.seek(10**6)
        file.write(b"4")
    (held / "5.png").write_bytes(b"5")
    os.mkfifo(held / "6.png")
    (held / "7.png").mkdir()
    tar = ["tar", "--create", "--sparse", "--sort=name", "--file", tmp_path / "x.tar"]
    subprocess.run([*tar, "--directory", held, "."], check=True)
    source = Tars(iter([str(tmp_path / "x.tar")]), LIMITS)
    listed = items(source)
    assert [item.key for item in listed] == [f"./{number}.png" for number in range(1, 7)]
    one, *others, five, six = source.read(listed)
    assert (one, five) == (b"1" * 500, b"5")
    assert [trouble.status for trouble in (*others, six)] == ["UNREADABLE"] * 4
    advice = "make the tar with --dereference --hard-dereference"
    assert [trouble.reason for trouble in (*others, six)] == [
        f"it is a link to ./1.png: {advice}",
        f"it is a link to \\x1b1.png: {advice}",
        "it is stored without its holes: make the tar without --sparse",
        "it is no file",
    ]


def test_a_header_with_a_number_that_cannot_be_is_damage(tmp_path: Path) -> None:
    """A long name of 2**64 bytes, which Python cannot even ask for."""
    path = write_tar(tmp_path / "x.tar", [("1.png", b"1"), (f"{'x' * 200}.png", b"2")])
    data = bytearray(path.read_bytes())
    header = data[1024:1536]
    header[124:136] = b"\x80" + bytes(2) + b"\xff" * 9
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    data[1024:1536] = header
    path.write_bytes(data)
    source = Tars(iter([str(path)]), LIMITS)
    listed = items(source)
    assert [item.key for item in listed] == ["1.png", "(the rest of the tar)"]
    assert "the tar is damaged: cannot fit" in str(listed[-1].broken)


def test_a_tar_that_shrinks_or_goes_costs_its_rows(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", [("1.png", b"1" * 1000), ("2.png", b"2" * 500)])
    source = Tars(iter([str(path)]), LIMITS)
    listed = items(source)
    path.write_bytes(path.read_bytes()[:1600])
    first, second = source.read(listed)
    assert (first, second) == (
        b"1" * 1000,
        Trouble("UNREADABLE", "the tar has become shorter since the run began"),
    )
    path.unlink()
    reason = "the tar cannot be read: No such file or directory"
    assert list(source.read(listed)) == [Trouble("UNREADABLE", reason)] * 2


def parquet(path: Path, columns: dict[str, Any], **options: Any) -> str:
    pq.write_table(pa.table(columns), path, **options)
    return str(path)


def test_a_column_of_bytes_by_groups_of_rows(tmp_path: Path) -> None:
    images = [b"0", None, b"2", b"3" * 10_001, b"4"]
    path = parquet(tmp_path / "x.parquet", {"id": list("abcde"), "image": images}, row_group_size=2)
    column = choose_column(path, None, "id")
    source = Rows(iter([path]), column, LIMITS)
    assert [[item.key for item in group] for group in source.groups()] == [
        ["a", "b"],
        ["c", "d"],
        ["e"],
    ]
    listed = items(Rows(iter([path]), column, LIMITS))
    contents = list(source.read(listed[2:]))
    assert contents[0] == b"2"
    assert contents[1] == Trouble(
        "INVALID", "the image has 10001 bytes; max_image_bytes allows at most 10000"
    )
    assert contents[2] == b"4"
    assert list(source.read(listed[:2])) == [
        b"0",
        Trouble("UNREADABLE", "the row has no image (null)"),
    ]


def test_structs_with_bytes_as_data_sets_have_them(tmp_path: Path) -> None:
    images = [{"bytes": b"0", "path": "x.png"}, None, {"bytes": None, "path": "y.png"}]
    path = parquet(tmp_path / "x.parquet", {"image": images, "label": [1, 2, 3]})
    source = Rows(iter([path]), choose_column(path, None, None), LIMITS)
    null = Trouble("UNREADABLE", "the row has no image (null)")
    assert list(source.read(items(source))) == [b"0", null, null]


def test_a_column_of_paths_counts_from_the_parquet_file(tmp_path: Path) -> None:
    names = ["a.png", "/abs/b.png", None, "a.png"]
    path = parquet(tmp_path / "x.parquet", {"file": names})
    source = Paths(iter([path]), choose_column(path, "file", None), LIMITS)
    (tmp_path / "a.png").write_bytes(b"a")
    listed = items(source)
    assert [item.path for item in listed] == [
        f"{tmp_path}/a.png",
        "/abs/b.png",
        path,
        f"{tmp_path}/a.png",
    ]
    first, gone, null, again = source.read(listed)
    assert first == again == b"a"
    assert isinstance(gone, Trouble)
    assert null == Trouble("UNREADABLE", "the row has no image (null)")


@pytest.mark.parametrize(
    ("column", "key", "said"),
    [
        ("nothing", None, "--column nothing: .* has no such column; it has a .binary., b .binary."),
        (None, "nothing", "--key-column nothing: .* it has a .binary., b .binary., n .int64."),
        (None, None, "has several columns of bytes; name the one of the images"),
        ("n", None, "--column n: it has int64, but images are bytes"),
    ],
)
def test_a_wrong_column_names_those_there_are(
    tmp_path: Path, column: str | None, key: str | None, said: str
) -> None:
    path = parquet(tmp_path / "x.parquet", {"a": [b"1"], "b": [b"1"], "n": [1]})
    with pytest.raises(DatasetError, match=said):
        choose_column(path, column, key)


def test_files_that_differ_from_the_first_and_files_that_are_none(tmp_path: Path) -> None:
    first = parquet(tmp_path / "1.parquet", {"a": [b"1"]})
    second = parquet(tmp_path / "2.parquet", {"b": [b"1"]})
    source = Rows(iter([first, second]), choose_column(first, None, None), LIMITS)
    with pytest.raises(DatasetError, match=r"2.parquet has no column a, unlike the first file"):
        items(source)
    (tmp_path / "3.parquet").write_bytes(b"no Parquet")
    with pytest.raises(DatasetError, match=r"3.parquet is no Parquet file: "):
        choose_column(str(tmp_path / "3.parquet"), None, None)


def test_names_that_cannot_be_read_end_the_search(tmp_path: Path) -> None:
    """Nobody knows how many images they are."""
    path = tmp_path / "x.parquet"
    parquet(path, {"file": ["a.png"] * 9, "image": [b"1"] * 9}, use_dictionary=False)
    column, key = choose_column(str(path), "file", None), choose_column(str(path), None, "file")
    data = bytearray(path.read_bytes())
    data[4:12] = b"\xff" * 8  # the head of the first page
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=r"SOURCE: .*x.parquet is damaged: "):
        items(Paths(iter([str(path)]), column, LIMITS))
    with pytest.raises(DatasetError, match=r"--key-column file of .*x.parquet: "):
        items(Rows(iter([str(path)]), key, LIMITS))


@pytest.mark.parametrize("damaged", ["file", "image"])
def test_rows_that_a_parquet_file_states_and_has_not(tmp_path: Path, damaged: str) -> None:
    """Arrow ends a column early without a word; no row may be lost for that."""
    path = tmp_path / "x.parquet"
    columns = {"file": [f"{number}.png" for number in range(9)], "image": [b"1"] * 9}
    plain = {"use_dictionary": False, "compression": "none", "write_statistics": False}
    parquet(path, columns, **plain)
    group = pq.read_metadata(path).row_group(0)
    data = bytearray(path.read_bytes())
    # The number of values in the head of a page, which follows two sizes.
    values = data.index(2 * 9, group.column([*columns].index(damaged)).data_page_offset)
    data[values] = 2 * 8
    path.write_bytes(data)
    paths, key = choose_column(str(path), "file", None), choose_column(str(path), None, "file")
    images = Rows(iter([str(path)]), choose_column(str(path), None, None), LIMITS)
    if damaged == "image":
        *first, last = images.read(items(images))
        assert first == [b"1"] * 8
        reason = "the Parquet file cannot be read: it has fewer rows than it states"
        assert last == Trouble("UNREADABLE", reason)
    else:
        for source in (Paths(iter([str(path)]), paths, LIMITS), Rows(iter([path]), key, LIMITS)):
            with pytest.raises(DatasetError, match="it has fewer rows than it states"):
                items(source)


def test_texts_that_are_no_utf8_are_names_of_files(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"a\xff.png")).write_bytes(b"a")
    offsets, letters = b"\0\0\0\0\6\0\0\0\13\0\0\0", b"a\xff.pngb.png"
    texts = pa.StringArray.from_buffers(2, pa.py_buffer(offsets), pa.py_buffer(letters))
    path = parquet(tmp_path / "x.parquet", {"file": texts, "image": [b"1", b"2"]})
    source: Paths | Rows = Paths(iter([path]), choose_column(path, "file", None), LIMITS)
    first, gone = source.read(items(source))
    assert first == b"a"
    assert isinstance(gone, Trouble)
    source = Rows(iter([path]), choose_column(path, None, "file"), LIMITS)
    assert [item.key for item in items(source)] == ["a\udcff.png", "b.png"]


def test_a_column_is_the_one_of_its_name(tmp_path: Path) -> None:
    columns = {"a": [{"b": 1}], "a.b": [b"1"], "c": [{"bytes": {"bytes": b"2"}}]}
    path = parquet(tmp_path / "x.parquet", columns)
    source = Rows(iter([path]), choose_column(path, None, None), LIMITS)
    assert list(source.read(items(source))) == [b"1"]
    twice = tmp_path / "twice.parquet"
    pq.write_table(pa.table([pa.array([b"1"])] * 2, names=["a", "a"]), twice)
    with pytest.raises(DatasetError, match=r"--column a: .* has several such columns"):
        choose_column(str(twice), "a", None)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"a": [b"1"]}, "it has other rows than when the run began"),
        ({"a": [b"1"] * 3}, "it has other rows than when the run began"),
        ({"b": [b"1"] * 2}, "x.parquet has no column a, unlike the first file; it has b (binary)"),
    ],
)
def test_a_parquet_file_that_has_become_another_costs_its_rows(
    tmp_path: Path, columns: dict[str, Any], said: str
) -> None:
    path = parquet(tmp_path / "x.parquet", {"a": [b"1", b"2"]})
    source = Rows(iter([path]), choose_column(path, None, None), LIMITS)
    listed = items(source)
    parquet(tmp_path / "x.parquet", columns)
    contents = list(source.read(listed))
    assert [type(content) for content in contents] == [Trouble] * 2
    assert said in str(contents[0])


def test_a_parquet_file_that_is_damaged_inside_costs_its_rows(tmp_path: Path) -> None:
    images = [bytes([n]) * 5000 for n in range(4)]
    path = Path(
        parquet(tmp_path / "x.parquet", {"a": images}, row_group_size=2, use_dictionary=False)
    )
    source = Rows(iter([str(path)]), choose_column(str(path), None, None), LIMITS)
    listed = items(source)
    data = bytearray(path.read_bytes())
    data[4:40] = b"\xff" * 36  # the head of the first page
    path.write_bytes(data)
    contents = list(source.read(listed))
    assert len(contents) == 4
    assert all(isinstance(content, Trouble) for content in contents)
    assert "the Parquet file cannot be read: " in contents[0].reason
