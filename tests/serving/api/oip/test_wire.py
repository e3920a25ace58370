"""Messages that would cost much to parse, and those that only look like it."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos import open_inference_pb2 as pb
from serving.api.oip import wire
from serving.errors import InvalidRequestError
from tests.serving.api.oip.messages import INPUT, photos
from tests.serving.api.test_wire import UNKNOWN, field

LARGE = 2**21
MODEL, ID, PARAMETER, INPUTS, OUTPUTS, RAW = (
    bytes([number << 3 | 2]) for number in (1, 3, 4, 5, 6, 7)
)
NAME, CONTENTS = b"\x0a", b"\x2a"
FILES, PIXELS = b"\x42", b"\x22"
BYTES = b"\x12\x05BYTES"


def refusal(message: bytes) -> str:
    with pytest.raises(InvalidRequestError) as refused:
        wire.parse(message, 128)
    return str(refused.value)


def contents(inner: bytes) -> bytes:
    return field(INPUTS, field(CONTENTS, inner))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (field(RAW, b"") * LARGE, "too many fields"),
        (field(INPUTS, b"") * LARGE, "too many fields"),
        (field(OUTPUTS, b"") * LARGE, "too many fields"),
        (field(PARAMETER, b"") * LARGE, "too many fields"),
        (UNKNOWN * LARGE, "too many fields"),
        (field(PARAMETER, UNKNOWN * LARGE), "without its tensors has more than 65536 bytes"),
        (field(OUTPUTS, field(b"\x12", b"") * LARGE), "without its tensors has more than"),
        (field(b"\xfa\x01", bytes(LARGE)), "without its tensors has more than"),
        (field(ID, bytes(LARGE)), "without its tensors has more than"),
        (field(ID, b"x" * 1025), "`id` has 1025 bytes; it may have at most 1024"),
        (field(INPUTS, UNKNOWN * LARGE), "too many fields"),
        (field(INPUTS, field(NAME, b"x" * LARGE)), "without its tensors has more than"),
        (field(INPUTS, field(b"\x1a", bytes(LARGE))), "without its tensors has more than"),
        (field(INPUTS, field(b"\x22", b"") * LARGE), "too many fields"),
        (field(INPUTS, field(CONTENTS, b"") * LARGE), "must hold either"),
        (contents(field(FILES, b"") * LARGE), "too many fields"),
        (contents(b"\x20\x05" * LARGE), "too many fields"),
        (contents(field(b"\x32", bytes(LARGE))), "must hold either bytes_contents"),
        (contents(b"\x20\x05"), "packed, once"),
        (contents(field(PIXELS, b"1") + field(FILES, b"1")), "must hold either"),
        (contents(field(FILES, b"1")) + contents(b""), "must hold either"),
        (contents(field(PIXELS, bytes(LARGE)) * 3), "have more than 4194304 bytes"),
        (contents(field(PIXELS, b"\xff")), "must be numbers from 0 to 255"),
        (contents(field(PIXELS, b"\x80\x02")), "must be numbers from 0 to 255"),
        (field(INPUTS, b"") + field(RAW, b"") * 2, "1 inputs and 2 raw_input_contents"),
        (field(INPUTS, b"") * 2 + field(RAW, b""), "2 inputs and 1 raw_input_contents"),
        (field(INPUTS, b""), "neither raw_input_contents nor contents"),
        (contents(field(FILES, b"1")) + field(RAW, b""), "both raw_input_contents and contents"),
        (field(INPUTS, BYTES + field(CONTENTS, field(PIXELS, b"1"))), "in bytes_contents, not in"),
    ],
)
def test_what_is_too_much_is_refused_before_it_is_parsed(message: bytes, reason: str) -> None:
    tracemalloc.start()
    assert reason in refusal(message)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


@pytest.mark.parametrize("message", [b"\xff", b"\x0a\x05", b"\x2a\x02\x0a", b"\x2a\x02\x7b\x7c"])
def test_what_is_no_message_is_refused(message: bytes) -> None:
    assert refusal(message) == "the message cannot be read as a ModelInferRequest"


def test_a_name_that_is_no_text_is_refused() -> None:
    assert "cannot be read" in refusal(field(MODEL, b"\xff"))


def test_tensors_are_where_they_were_in_the_message() -> None:
    message = photos(1, 2).SerializeToString()
    [tensor] = wire.parse(message, 128).inputs
    assert isinstance(tensor.data, memoryview)
    assert tensor.data.obj is message


@given(st.lists(st.integers(0, 255), max_size=50))
def test_packed_numbers_are_their_bytes(numbers: list[int]) -> None:
    tensor = {"name": INPUT, "contents": {"uint_contents": [*numbers, 200]}}
    message = pb.ModelInferRequest(inputs=[tensor]).SerializeToString()
    [found] = wire.parse(message, 128).inputs
    assert found.data == np.array([*numbers, 200], np.uint8).tobytes()


# Pieces of which messages are made that are all but valid.
TENSOR = field(NAME, b"x") + field(b"\x1a", b"\x01\x02")
PIECES = st.sampled_from(
    [
        field(INPUTS, TENSOR),
        field(INPUTS, TENSOR + field(CONTENTS, field(FILES, b"a") + field(FILES, b"b"))),
        field(INPUTS, field(CONTENTS, field(PIXELS, b"\x05\x80\x01")) + TENSOR),
        field(INPUTS, b"\x18\x07"),
        field(OUTPUTS, field(NAME, b"y")),
        field(RAW, b"abc"),
        field(ID, b"id"),
        field(PARAMETER, field(NAME, b"timeout") + field(b"\x12", b"\x10\x05")),
        UNKNOWN,
    ]
)


@given(st.binary(max_size=60) | st.lists(PIECES, max_size=6).map(b"".join))
def test_any_bytes_are_the_request_that_protobuf_reads_or_are_refused(message: bytes) -> None:
    try:
        request = wire.parse(message, 3)
    except InvalidRequestError:
        return
    expected = pb.ModelInferRequest.FromString(message)
    assert (request.model, request.version, request.id) == (
        expected.model_name, expected.model_version, expected.id
    )  # fmt: skip
    assert [output.name for output in request.outputs] == [one.name for one in expected.outputs]
    timeout = expected.parameters["timeout"].int64_param if expected.parameters else 0
    assert (request.timeout_us or 0) == timeout
    for index, (tensor, other) in enumerate(zip(request.inputs, expected.inputs, strict=True)):
        assert (tensor.name, tensor.datatype) == (other.name, other.datatype)
        assert list(tensor.shape) == list(other.shape)
        held = other.contents
        if raw := expected.raw_input_contents:
            assert tensor.data == raw[index]
        elif isinstance(tensor.data, list):
            assert tensor.data == list(held.bytes_contents)
        else:
            assert list(tensor.data) == list(held.uint_contents)


def test_the_id_of_a_request_that_is_refused() -> None:
    message = pb.ModelInferRequest(id="é", raw_input_contents=[b""] * 3).SerializeToString()
    assert wire.id_of(message) == "é"
    for none in (b"\xff", field(ID, b"\xff"), field(ID, bytes(1025)), field(RAW, b"") * LARGE):
        assert not wire.id_of(none)
