"""What one process writes, the other reads."""

from inspect import isclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import errors
from serving.engine.job import Answer, Prediction, Timing
from serving.engine.sources import Encoded, Raw, Ready, Size
from serving.errors import InternalError, InvalidImageError, OverloadedError, ServingError
from serving.frontend import messages
from serving.frontend.link import HEAD
from serving.frontend.messages import ERRORS, IMAGE, KINDS, Ask, Decode, Kind

NUMBERS = st.integers(0, 2**32 - 1)
SECONDS = st.floats(0, 1e6)
SIZES = st.builds(Size, st.sampled_from(KINDS), st.integers(0, 2**40), st.integers(0, 2**40))
TIMINGS = st.builds(
    Timing, SECONDS, SECONDS, SECONDS, SECONDS, SECONDS, st.integers(1, 512), SECONDS
)
ROWS = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20)
PREDICTIONS = st.builds(
    lambda row, timing: Prediction(np.array(row, np.float32), timing), ROWS, TIMINGS
)
TEXTS = st.text(max_size=100)
REFUSALS = st.one_of(
    st.builds(OverloadedError, TEXTS, NUMBERS), st.builds(InvalidImageError, TEXTS)
)


def body(message: bytes, kind: Kind) -> memoryview:
    """Return the body of a frame, which must be of this kind and whole."""
    size, found = HEAD.unpack_from(message)
    assert (found, size) == (kind, len(message) - HEAD.size)
    return memoryview(message)[HEAD.size :]


def told(answer: Answer) -> tuple[object, ...]:
    """Return what an answer says, to be compared."""
    if isinstance(answer, Prediction):
        return answer.probabilities.tolist(), answer.timing
    text = str(answer).encode(errors="backslashreplace").decode()
    return type(answer), text, getattr(answer, "retry_after_ms", None)


@given(NUMBERS, SECONDS, SECONDS, NUMBERS, st.text(max_size=50), st.lists(SIZES, max_size=5))
def test_a_request(
    call: int, arrived: float, deadline: float, nbytes: int, caller: str, sizes: list[Size]
) -> None:
    images = [messages.image(size, slot) for slot, size in enumerate(sizes, -1)]
    name = caller.encode(errors="replace")
    sent = messages.ask(call, 7, arrived, deadline, nbytes, name, images)
    read = Ask.read(body(sent, Kind.ASK))
    assert read[:5] == (call, 7, arrived, deadline, nbytes)
    assert read.caller == name.decode()
    found = [*IMAGE.iter_unpack(read.images)]
    assert [Size(KINDS[kind], pixels, size) for kind, _, pixels, size, *_ in found] == sizes
    assert [slot for _, slot, *_ in found] == [*range(-1, len(sizes) - 1)]


@given(NUMBERS, st.lists(st.one_of(PREDICTIONS, REFUSALS), min_size=1, max_size=6))
def test_answers(call: int, answers: list[Answer]) -> None:
    content = body(messages.answer(call, answers), Kind.ANSWER)
    assert messages.CALL.unpack_from(content) == (call,)
    assert [*map(told, messages.read_answers(content))] == [*map(told, answers)]


@given(st.integers(0, 2**16 - 1), st.lists(NUMBERS, max_size=50))
def test_slots(model: int, slots: list[int]) -> None:
    assert messages.read_free(body(messages.free(model, slots), Kind.FREE)) == (model, slots)


@pytest.mark.parametrize("is_slow", [False, True])
@pytest.mark.parametrize("data", [b"", b"file" * 100])
def test_an_image_of_a_caller_of_the_engine(data: bytes, is_slow: bool) -> None:
    for source in (Encoded(data), Raw(data, 2, 3, 1), Ready(data)):
        sent = Decode(2**32 - 1, 7, is_slow, 0.5, 1.5, source)
        read = Decode.read(body(sent.message(), Kind.DECODE))
        assert read[:-1] == sent[:-1]
        if isinstance(source, Encoded):
            assert isinstance(read.source, Encoded)
            assert read.source.data == data
        else:
            assert read.source == source
    calls = [2**31, 2**32 - 1]
    assert messages.read_over(body(messages.over(calls), Kind.OVER)) == calls


def test_a_place_may_be_any_that_a_request_can_have() -> None:
    """--max-images-per-request is at most --max-inflight-images, and that 2**20."""
    last = 2**20 - 1
    assert messages.PLACE.unpack(messages.PLACE.pack(1, last)) == (1, last)
    assert messages.GRANTED.unpack(messages.GRANTED.pack(last, True)) == (last, True)
    ready = 1, last, 2, 0.5, 1.5, 1.0
    assert messages.READY_IMAGE.unpack(messages.READY_IMAGE.pack(*ready)) == ready


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_an_error_keeps_its_class(kind: type[ServingError]) -> None:
    error = OverloadedError("why", 250) if kind is OverloadedError else kind("why")
    content = body(messages.refusal(3, error), Kind.REFUSE)
    read, end = messages.read_error(content, messages.CALL.size)
    assert (told(read), end) == (told(error), len(content))


def test_every_error_that_ends_an_image_has_a_number() -> None:
    """Of the others one ends a start, and two are found where the call is."""
    known = {each for each in vars(errors).values() if isclass(each)}
    kinds = {each for each in known if issubclass(each, ServingError)} - {ServingError}
    local = {errors.StartupError, errors.UnauthenticatedError, errors.PermissionDeniedError}
    assert kinds - {*ERRORS} == local
    assert messages.ERROR_NUMBERS[InternalError] == 0  # of one that has none
