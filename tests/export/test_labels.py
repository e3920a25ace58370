"""Files of labels, as they come."""

from pathlib import Path

import pytest

from export.errors import ExportError
from export.labels import read_labels

UTF8_MARK = b"\xef\xbb\xbf"


def labels(tmp_path: Path, data: bytes) -> list[str]:
    (tmp_path / "labels.txt").write_bytes(data)
    return read_labels(tmp_path / "labels.txt")


@pytest.mark.parametrize(
    ("data", "read"),
    [
        (b"ant\nbee\n", ["ant", "bee"]),
        (b"ant\nbee", ["ant", "bee"]),
        (b"ant\r\nbee\r\n", ["ant", "bee"]),
        (b" ant \r\n\tbee\n", ["ant", "bee"]),
        (
            UTF8_MARK + 'tench\r\ncrane\r\nna\u00efve, "quoted"\r\n'.encode(),
            ["tench", "crane", 'na\u00efve, "quoted"'],
        ),
        ("a\x0bb\x0cc\x85d\u2028e\u2029f\x1cg\n".encode(), ["a\x0bb\x0cc\x85d\u2028e\u2029f\x1cg"]),
    ],
)
def test_each_line_is_a_label(tmp_path: Path, data: bytes, read: list[str]) -> None:
    assert labels(tmp_path, data) == read


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "line 1 is empty; each line is one label"),
        (b"ant\n\nbee\n", "line 2 is empty"),
        (b"ant\n \t\r\nbee\n", "line 2 is empty"),
        (b"ant\nbee\n\n", "line 3 is empty"),
        (b"ant\nb\xe9e\n", "line 2 is not UTF-8: byte 2 of it is 0xe9; save the file as UTF-8"),
        ("ant\nbee\n".encode("utf-16"), "line 1 is not UTF-8: byte 1 of it is 0xff"),
        ("ant\nbee\n".encode("utf-16-le"), "line 1 holds a zero byte"),
    ],
)
def test_what_is_wrong_with_a_line_is_told(tmp_path: Path, data: bytes, told: str) -> None:
    with pytest.raises(ExportError, match=rf"^--labels .*labels\.txt: {told}"):
        labels(tmp_path, data)


@pytest.mark.parametrize(("name", "told"), [("none", "No such file"), ("", "Is a directory")])
def test_what_is_no_file_is_told(tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(ExportError, match=f"cannot be read: {told}"):
        read_labels(tmp_path / name)


def test_a_label_that_is_there_twice_is_warned_of_by_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert labels(tmp_path, b"crane\nant\ncrane\n") == ["crane", "ant", "crane"]
    assert "line 3 is 'crane', as line 1" in caplog.text
