"""Bodies of the Open Inference Protocol: what they say, and what is wrong with others."""

import base64
import json
import struct
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving.api.oip.tensors import InferRequest, InferResponse, Output, Tensor
from serving.errors import InvalidRequestError
from serving.http import tensors

FILES = st.lists(st.binary(max_size=40), min_size=1, max_size=5)


def body(*inputs: dict[str, Any], binary: bytes = b"", **rest: object) -> tuple[bytes, int]:
    """Return a body, and how much of it is JSON."""
    head = json.dumps({"inputs": inputs, **rest}).encode()
    return head + binary, len(head)


def parse(sent: tuple[bytes, int]) -> InferRequest:
    return tensors.parse(*sent, model="tiny", version="")


def refusal(sent: tuple[bytes, int]) -> str:
    with pytest.raises(InvalidRequestError) as refused:
        parse(sent)
    return str(refused.value)


def image(**fields: Any) -> dict[str, Any]:
    """Return an input of one image file in JSON, or what differs from it."""
    stated = {"name": "image", "datatype": "BYTES", "shape": [1], **fields}
    return {name: value for name, value in stated.items() if value is not None}


def pixels(data: object, shape: list[int]) -> tuple[bytes, int]:
    return body(image(datatype="UINT8", shape=shape, data=data))


def elements(files: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(file)) + file for file in files)


@given(FILES, FILES)
def test_binary_data_is_cut_where_its_sizes_say(first: list[bytes], second: list[bytes]) -> None:
    wire = [elements(first), elements(second)]
    inputs = [
        image(name=f"image{at}", shape=[len(files), 1], parameters={"binary_data_size": len(part)})
        for at, (files, part) in enumerate(zip((first, second), wire, strict=True))
    ]
    sent, size = body(*inputs, binary=b"".join(wire))
    parsed = parse((sent, size)).inputs
    assert [bytes(tensor.data) for tensor in parsed] == wire
    assert [tensor.shape for tensor in parsed] == [(len(first), 1), (len(second), 1)]
    # Not copied: they are views of the body.
    assert all(isinstance(tensor.data, memoryview) and tensor.data.obj is sent for tensor in parsed)


@given(FILES)
def test_files_come_in_base64_if_the_input_says_so(files: list[bytes]) -> None:
    data = [base64.b64encode(file).decode() for file in files]
    given_as = {"content_type": "base64"}
    [tensor] = parse(body(image(shape=[len(files)], data=data, parameters=given_as))).inputs
    assert tensor == Tensor("image", "BYTES", (len(files),), files)


@given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
def test_pixels_come_nested_or_in_one_list(rows: int, columns: int, channels: int) -> None:
    array = np.arange(rows * columns * channels, dtype=np.uint8).reshape(rows, columns, channels)
    for data in (array.tolist(), array.ravel().tolist()):
        [tensor] = parse(pixels(data, list(array.shape))).inputs
        assert (tensor.shape, tensor.data) == (array.shape, array.tobytes())


def test_what_is_asked_for() -> None:
    outputs = [
        {"name": "a"},
        {"name": "b", "parameters": {"binary_data": False, "classification": 3, "other": "x"}},
    ]
    parameters = {"timeout": 250_000, "binary_data_output": True, "triton_other": 1}
    empty = image(shape=[0], data=[], parameters={"content_type": "base64"})
    asked = parse(body(empty, id="7", outputs=outputs, parameters=parameters, model_name="other"))
    assert (asked.id, asked.timeout_us, asked.model) == ("7", 250_000, "tiny")
    assert asked.outputs == [Output("a", 0, None), Output("b", 3, binary=False)]
    assert asked.binary


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ((b"", 0), "the body is not JSON"),
        ((b"\xff\xd8\xff\xe0", 4), "the body is not JSON"),
        ((b"[" * 5000, 5000), "the body is not JSON"),
        ((b"[]", 2), "should be a valid dictionary or instance of InferenceRequest"),
        ((b"{}", 2), "`inputs`: field required"),
        (body(image(shape=["1"])), "`inputs[0].shape[0]`: input should be a valid integer"),
        (body(image(shape=[True])), "`inputs[0].shape[0]`: input should be a valid integer"),
        (body(image(shape=[-1])), "`inputs[0].shape[0]`: input should be greater than or equal"),
        (body(image(shape=[1] * 9)), "`inputs[0].shape`: list should have at most 8 items"),
        (body(image(shape=None)), "`inputs[0].shape`: field required"),
        (body(*[0] * 5000), "`inputs[0]`: input should be"),
        (body(image(name="x" * 1025)), "`inputs[0].name`: string should have at most 1024"),
        (body(image()), "input 'image' must have either `data` or the parameter"),
        (
            body(image(data=["x"], parameters={"binary_data_size": 1}), binary=b"x"),
            "input 'image' must have either `data` or the parameter",
        ),
        (body(image(parameters={"binary_data_size": 5}), binary=b"1234"), "4 bytes of binary data"),
        (body(image(parameters={"binary_data_size": 3}), binary=b"1234"), "4 bytes of binary data"),
        (body(image(data=["\ufffd"])), "JSON cannot carry the bytes of an image file"),
        (
            body(image(data=["?"], parameters={"content_type": "base64"})),
            "input 'image' is not base64",
        ),
        (body(image(data=[3], parameters={"content_type": "base64"})), "is not base64"),
        (pixels([1, 2], [3]), "must have the shape [3]"),
        (pixels([[1, 2], [3]], [2, 2]), "must have the shape [2, 2]"),
        (pixels([[1], [2, 3, 4]], [2, 2]), "must have the shape [2, 2]"),
        (pixels([[1, 2], 3, 4], [2, 2]), "must have the shape [2, 2]"),
        (pixels([[[1, 2]], [[3, 4]]], [2, 2]), "must have the shape [2, 2]"),
        (pixels([256], [1]), "of UINT8 must hold whole numbers from 0 to 255"),
        (pixels([-1], [1]), "of UINT8 must hold whole numbers from 0 to 255"),
        (pixels([1.0], [1]), "of UINT8 must hold whole numbers from 0 to 255"),
        (pixels([True], [1]), "of UINT8 must hold whole numbers from 0 to 255"),
        (pixels(["1"], [1]), "of UINT8 must hold whole numbers from 0 to 255"),
        (pixels([{}], [1]), "of UINT8 must hold whole numbers from 0 to 255"),
    ],
)
def test_what_is_wrong_is_said(sent: tuple[bytes, int], reason: str) -> None:
    assert reason in refusal(sent)


@pytest.mark.parametrize(
    "sent",
    [
        body(image(parameters={"shared_memory_region": "r", "shared_memory_byte_size": 9})),
        body(outputs=[{"name": "x", "parameters": {"shared_memory_region": "r"}}]),
    ],
)
def test_shared_memory_is_said_to_be_missing(sent: tuple[bytes, int]) -> None:
    assert "this server has no shared memory" in refusal(sent)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
NEARLY = st.fixed_dictionaries(
    {},
    optional={
        "id": VALUES,
        "inputs": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "name": st.just("image") | VALUES,
                    "datatype": st.sampled_from(["BYTES", "UINT8", "FP32"]) | VALUES,
                    "shape": st.lists(st.integers(-1, 3), max_size=4) | VALUES,
                    "data": VALUES,
                    "parameters": VALUES
                    | st.fixed_dictionaries(
                        {}, optional={"binary_data_size": st.integers(-1, 9) | VALUES}
                    ),
                },
            ),
            max_size=3,
        )
        | VALUES,
        "outputs": VALUES,
        "parameters": VALUES,
    },
)


@given(
    st.binary(max_size=60) | NEARLY.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=9),
    st.integers(0, 9),
)
@example(b"[" * 2000, b"", 0)
def test_any_body_is_read_or_refused(head: bytes, binary: bytes, less: int) -> None:
    sentence = "read"
    try:
        parse((head + binary, max(0, len(head) - less)))
    except InvalidRequestError as refused:
        sentence = str(refused)
    assert sentence[0].islower()
    assert len(sentence) < 1500


def response(*outputs: Tensor) -> InferResponse:
    return InferResponse("tiny", "1", "7", list(outputs))


def request(*outputs: Output, binary: bool = False) -> InferRequest:
    return InferRequest("tiny", id="7", outputs=list(outputs), binary=binary)


PROBABILITIES = np.array([[0.1, 0.9], [1e-30, np.nan]], np.float32)
CLASSES = [b"0.9:1:bee", "0.1:0:\u00e9".encode()]
OUTPUTS = (
    Tensor("probabilities", "FP32", (2, 2), PROBABILITIES.tobytes()),
    Tensor("classes", "BYTES", (1, 2), CLASSES),
)


def test_an_answer_in_json() -> None:
    written, size = tensors.build(request(), response(*OUTPUTS))
    assert size is None
    assert json.loads(written) == {
        "model_name": "tiny",
        "model_version": "1",
        "id": "7",
        "outputs": [
            # As short as a float32 allows.
            {
                "name": "probabilities",
                "datatype": "FP32",
                "shape": [2, 2],
                "data": [0.1, 0.9, 1e-30, None],
            },
            {
                "name": "classes",
                "datatype": "BYTES",
                "shape": [1, 2],
                "data": ["0.9:1:bee", "0.1:0:\u00e9"],
            },
        ],
    }


def test_an_answer_in_binary() -> None:
    asked = request(Output("classes", 2, binary=False), binary=True)
    written, size = tensors.build(asked, response(*OUTPUTS, OUTPUTS[0]))
    head = orjson.loads(written[:size])
    [first, classes, last] = head["outputs"]
    assert "data" in classes
    assert "parameters" not in classes
    for output in (first, last):
        assert output["parameters"] == {"binary_data_size": PROBABILITIES.nbytes}
        assert "data" not in output
    assert written[size:] == PROBABILITIES.tobytes() * 2


@given(FILES)
def test_bytes_go_out_as_they_come_in(files: list[bytes]) -> None:
    sent = response(Tensor("image", "BYTES", (len(files),), files))
    written, size = tensors.build(request(binary=True), sent)
    assert size is not None
    head = orjson.dumps({"inputs": orjson.loads(written[:size])["outputs"]})
    [tensor] = parse((head + written[size:], len(head))).inputs
    assert bytes(tensor.data) == elements(files)
