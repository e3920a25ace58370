"""Messages that would cost much to parse, and those that only look like it."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos import classifier_pb2 as pb
from serving.api import wire
from serving.engine.sources import Encoded, Raw
from serving.errors import InvalidRequestError
from tests.serving.api.messages import flat, png

LARGE = 2**21
IMAGE, RAW, ID, UNKNOWN = b"\x0a", b"\x12", b"\x32", b"\x78\x01"


def field(tag: bytes, value: bytes) -> bytes:
    """Return a field of bytes."""
    size, rest = b"", len(value)
    while rest > 127:
        size, rest = size + bytes((rest & 127 | 128,)), rest >> 7
    return tag + size + bytes((rest,)) + value


def refusal(message: bytes) -> str:
    with pytest.raises(InvalidRequestError) as refused:
        wire.parse(message, 128)
    return str(refused.value)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (field(IMAGE, b"") * LARGE, "this server takes at most 128 per request"),
        (field(b"\x8a\x00", b"") * LARGE, "this server takes at most 128 per request"),
        (UNKNOWN * LARGE, "too many fields"),
        (b"\x10\x00" * LARGE, "too many fields"),
        (field(ID, b"") * LARGE, "too many fields"),
        (field(IMAGE, UNKNOWN * LARGE), "too many fields"),
        (field(IMAGE, field(IMAGE, b"") * LARGE), "too many fields"),
        (field(IMAGE, (field(IMAGE, b"") + field(RAW, b"")) * LARGE), "too many fields"),
        (field(IMAGE, field(RAW, UNKNOWN * LARGE)), "too many fields"),
        (field(IMAGE, b"\x7b\x7c" * LARGE), "cannot be read"),
        (field(IMAGE, b"\x7b" * LARGE), "cannot be read"),
        (field(ID, bytes(LARGE)), f"`id` has {LARGE} bytes; it may have at most 1024"),
        (field(b"\x1a", bytes(1025)), "`model` has 1025 bytes"),
        (field(b"\x22", bytes(1025)), "`version` has 1025 bytes"),
    ],
)
def test_what_is_too_much_is_refused_before_it_is_parsed(message: bytes, reason: str) -> None:
    tracemalloc.start()
    assert reason in refusal(message)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    "message",
    [
        *(b"\xff", b"\x0a", b"\x0a\x05", b"\x09", b"\x0d\x00", b"\x10" + b"\xff" * 11, b"\x00\x00"),
        # In an image, which protobuf does not see: the field 0, one beyond the last, and a tag and
        # a length of more bytes than it reads.
        *(field(IMAGE, tag + b"\x00") for tag in (b"\x00", b"\x02", b"\xf8\xff\xff\xff\x1f")),
        field(IMAGE, b"\x8a\x80\x80\x80\x80\x00" + b"\x00"),
        field(IMAGE, IMAGE + b"\x80\x80\x80\x80\x80\x00"),
        b"\x0a\x80\x80\x80\x80\x80\x00",
    ],
)
def test_what_is_no_message_is_refused(message: bytes) -> None:
    assert refusal(message) == "the message cannot be read as a ClassifyRequest"


def test_a_name_that_is_no_text_is_refused() -> None:
    assert "cannot be read" in refusal(field(ID, b"\xff"))


def test_an_honest_request_is_parsed() -> None:
    request = pb.ClassifyRequest(
        images=[png(1), flat(2)] * 64, top_k=5, model="m" * 1024, id="é", full_probabilities=True
    )
    unknown = field(b"\xba\x3e", bytes(5000)) + b"\xb9\x3e" + bytes(8) + b"\xbd\x3e" + bytes(4)
    message = unknown + request.SerializeToString() + unknown
    assert_parsed(message, wire.parse(message, 128))


# Pieces of which messages are made that are all but valid.
PIECES = st.sampled_from(
    [
        *(field(IMAGE, field(tag, b"abc")) for tag in (IMAGE, RAW)),
        field(IMAGE, field(RAW, b"\x10\x02\x18\x03") + field(IMAGE, b"x")),
        field(IMAGE, field(IMAGE, b"x") + field(RAW, b"\x10\x02") + field(RAW, b"\x18\x03")),
        field(IMAGE, field(IMAGE, b"x") + UNKNOWN + field(IMAGE, b"y")),
        field(IMAGE, b"\x08\x05"),
        field(IMAGE, b"\x02\x00"),
        field(ID, b"id"),
        b"\x10\x05",
        b"\x28\x01",
    ]
)


@given(st.binary(max_size=60) | st.lists(PIECES, max_size=6).map(b"".join))
def test_any_bytes_are_the_request_that_protobuf_reads_or_are_refused(message: bytes) -> None:
    try:
        request = wire.parse(message, 3)
    except InvalidRequestError:
        return
    assert_parsed(message, request)
    assert len(request) <= 3


def assert_parsed(message: bytes, request: wire.Request) -> None:
    expected = pb.ClassifyRequest.FromString(message)
    assert len(request) == len(expected.images)
    for source, image in zip(request, expected.images, strict=True):
        if isinstance(source, Encoded):
            assert (source.data, image.HasField("raw")) == (image.encoded, False)
        else:
            raw = image.raw
            assert source == Raw(raw.pixels, raw.height, raw.width, raw.channels)
    del expected.images[:]
    assert request.options == expected


@pytest.mark.parametrize("request_id", ["", "42", "é" * 512])
def test_the_id_of_a_request_that_is_refused(request_id: str) -> None:
    request = pb.ClassifyRequest(images=[flat(1)] * 129, id=request_id)
    assert wire.id_of(request.SerializeToString(), 128) == request_id


@pytest.mark.parametrize(
    "message", [b"\xff", field(ID, b"\xff"), field(ID, bytes(1025)), field(IMAGE, b"") * LARGE]
)
def test_an_id_that_is_none(message: bytes) -> None:
    assert not wire.id_of(message, 128)
