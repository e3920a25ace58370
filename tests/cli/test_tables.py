"""Tables as wide as a terminal: no word is broken while there is another way."""

from collections.abc import Callable, Sequence

import pytest
from rich.console import Console

from cli import tables

HEADINGS = ("file", "precision", "same top-1")
FIRST = ("model_fp32.onnx", "fp32", "10000")
SECOND = ("model_int8.onnx", "int8", "9975")
THIRD = ("model_fp16.onnx", "fp16", "9998")
Show = Callable[..., list[str]]


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Show:
    def show(
        width: int, rows: Sequence[Sequence[str]], headings: Sequence[str] = HEADINGS
    ) -> list[str]:
        monkeypatch.setattr(tables, "_console", lambda: Console(width=width, highlight=False))
        tables.show_rows(headings, rows)
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= width
        return [" ".join(line.split()) for line in lines if "─" not in line]

    return show


def test_rows_stay_rows_where_there_is_room(show: Show) -> None:
    expected = [" ".join(row) for row in (HEADINGS, FIRST, SECOND, THIRD)]
    assert show(60, [FIRST, SECOND, THIRD]) == expected


def test_else_as_many_stand_side_by_side_as_there_is_room_for(show: Show) -> None:
    headings = (*HEADINGS, "calibration error")
    rows = [(*row, "0.1") for row in (FIRST, SECOND, THIRD)]
    assert show(55, rows, headings) == [
        *(" ".join(line) for line in zip(headings, *rows[:2], strict=True)),
        *(" ".join(line) for line in zip(headings, rows[2], strict=True)),
    ]


def test_a_sentence_is_wrapped_between_its_words(show: Show) -> None:
    sentence = "this machine has no driver for it"
    lines = show(30, [("cuda:0", sentence)], ("device", "missing"))
    assert " ".join(lines) == f"device missing cuda:0 {sentence}"


def test_nothing_is_lost_where_there_is_no_room_at_all(show: Show) -> None:
    lines = show(16, [FIRST, SECOND])
    words = "".join(word for line in lines for word in line.split()[-1:])
    assert all(text in words for row in (FIRST, SECOND) for text in row[1:])
