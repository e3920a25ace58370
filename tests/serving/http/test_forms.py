"""Forms with files, and what only looks like one."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidRequestError
from serving.http.forms import LONGEST_HEAD, MOST_FIELDS, files

TYPE = "multipart/form-data; boundary=edge"
FILE = b'--edge\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n'
FIELD = b'--edge\r\nContent-Disposition: form-data; name="comment"\r\n\r\nhello\r\n'
END = b"--edge--\r\n"


def test_files_are_taken_and_fields_read_over() -> None:
    other = FILE.replace(b"Content-Disposition", b"content-disposition")
    form = FILE + b"Content-Type: image/png\r\n\r\none\r\n" + FIELD + other + b"\r\n\r\ntwo\r\n\r\n"
    assert files(form + END, TYPE, 2) == [b"one", b"\r\ntwo\r\n"]


@pytest.mark.parametrize("content", [b"", b"\r\n", b"\r\n--edg", b"\r\n\r\n--", b"\0"])
def test_content_may_look_like_a_boundary(content: bytes) -> None:
    assert files(FILE + b"\r\n" + content + b"\r\n" + END, TYPE, 1) == [content]


@pytest.mark.parametrize("form", [b"preamble\r\n" + END, END, FIELD + END, END + b"epilogue"])
def test_a_form_may_have_no_files(form: bytes) -> None:
    assert files(form, TYPE, 1) == []


def test_spaces_after_a_boundary_and_quotes_around_it_are_read_over() -> None:
    form = FILE.replace(b"edge\r", b"edge \t\r") + b"\r\none\r\n" + END
    assert files(form, 'multipart/form-data; boundary="edge"', 1) == [b"one"]


@pytest.mark.parametrize(
    ("form", "content_type", "message"),
    [
        (END, "multipart/form-data", "must state its boundary"),
        (END, f"multipart/form-data; boundary={'x' * 71}", "at most 70"),
        (b"", TYPE, "does not hold the boundary"),
        (FILE + b"\r\none", TYPE, "ends before its last boundary"),
        (FILE, TYPE, "ends before its last boundary"),
        (b"--edge" + b" " * 100 + b"\r\n\r\n\r\n" + END, TYPE, "followed by other text"),
        (b"--edgewise\r\n\r\n\r\n" + END, TYPE, "followed by other text"),
        (FILE + b"X: " + b"x" * LONGEST_HEAD + b"\r\n\r\none\r\n" + END, TYPE, "no empty line"),
        (FILE + b"\r\n" + END, TYPE, "no empty line"),
        (2 * (FILE + b"\r\none\r\n") + END, TYPE, "too many images; .* at most 1$"),
        ((MOST_FIELDS + 1) * FIELD + END, TYPE, f"more than {MOST_FIELDS} fields"),
    ],
)
def test_what_is_no_form_is_told_so(form: bytes, content_type: str, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        files(form, content_type, 1)


@given(st.lists(st.sampled_from([b"\r\n", b"--", b"edge", b": ", b";", FILE, FIELD, END, b"\xff"])))
def test_nothing_else_is_raised(parts: list[bytes]) -> None:
    with suppress(InvalidRequestError):
        files(b"--edge\r\n" + b"".join(parts), TYPE, 2)


@given(st.binary(), st.text())
def test_whatever_a_part_says_of_itself(head: bytes, content_type: str) -> None:
    form = b"--edge\r\n" + head + b"\r\n\r\n\r\n" + END
    for stated in (TYPE, content_type, f"{TYPE}; {content_type}"):
        with suppress(InvalidRequestError):
            files(form, stated, 2)
