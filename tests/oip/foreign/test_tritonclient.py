"""What the four clients of tritonclient have in common: gRPC and HTTP, blocking and asyncio."""

import numpy as np
import pytest
from callers import FILES, LABELS, MODEL, PIXELS, TRUTH, encoded
from tritonclient.utils import InferenceServerException

ONE = encoded(FILES[:1])
GREY = np.full((2, 28, 28, 3), 128, np.uint8)


def refusal(caller, method, *arguments, **flags):
    """Return what the client says when the call fails."""
    with pytest.raises(InferenceServerException) as caught:
        caller.call(method, *arguments, **flags)
    return caught.value.status(), caught.value.message()


def infer_refusal(caller, given, model=MODEL, **flags):
    return refusal(caller, "infer", model, [given], **flags)


INVALID = {"StatusCode.INVALID_ARGUMENT", "400"}
NOT_FOUND = {"StatusCode.NOT_FOUND", "404"}
EXPIRED = {"StatusCode.DEADLINE_EXCEEDED", "504"}
ABSENT = {"StatusCode.UNIMPLEMENTED", "501"}


def test_it_lives_and_is_ready(caller):
    assert caller.call("is_server_live")
    assert caller.call("is_server_ready")
    for model in (MODEL, PIXELS):
        assert caller.call("is_model_ready", model)
        assert caller.call("is_model_ready", model, "1")


def test_an_unknown_model_is_not_ready(caller):
    assert not caller.call("is_model_ready", "nothing")
    assert not caller.call("is_model_ready", MODEL, "7")


def test_the_server_describes_itself(caller):
    server = caller.read("get_server_metadata")
    assert server["name"]
    assert server["version"]
    extensions = {"classification", "model_configuration", "binary_tensor_data", "schedule_policy"}
    assert extensions | {"statistics", "parameters"} <= {*server["extensions"]}


@pytest.mark.parametrize(
    ("model", "datatype", "shape"),
    [(MODEL, "BYTES", [-1, 1]), (PIXELS, "UINT8", [-1, 28, 28, 3])],
)
def test_a_model_describes_itself(caller, model, datatype, shape):
    described = caller.read("get_model_metadata", model)
    assert described["name"] == model
    assert described["versions"] == ["1"]
    [given], [returned] = described["inputs"], described["outputs"]
    assert (given["name"], given["datatype"]) == ("images", datatype)
    assert (returned["name"], returned["datatype"]) == ("probabilities", "FP32")
    assert [int(n) for n in given["shape"]] == shape
    assert [int(n) for n in returned["shape"]] == [-1, len(LABELS)]
    assert caller.read("get_model_metadata", model, "1") == described


@pytest.mark.parametrize(
    ("model", "datatype", "dims"),
    [(MODEL, "TYPE_STRING", [1]), (PIXELS, "TYPE_UINT8", [28, 28, 3])],
)
def test_a_model_states_its_config(caller, model, datatype, dims):
    config = caller.read("get_model_config", model)
    config = config if caller.http else config["config"]
    assert config["name"] == model
    assert config["max_batch_size"] > 0
    [given], [returned] = config["input"], config["output"]
    assert (given["name"], given["data_type"]) == ("images", datatype)
    assert [int(n) for n in given["dims"]] == dims
    formats = {"FORMAT_NHWC"} if model == PIXELS else {None, "FORMAT_NONE"}
    assert given.get("format") in formats
    assert (returned["name"], returned["data_type"]) == ("probabilities", "TYPE_FP32")
    assert [int(n) for n in returned["dims"]] == [len(LABELS)]


def test_the_repository_has_an_index(caller):
    index = caller.read("get_model_repository_index")
    models = index if caller.http else index["models"]
    found = {(model["name"], model["version"], model["state"]) for model in models}
    assert {(MODEL, "1", "READY"), (PIXELS, "1", "READY")} <= found


@pytest.mark.parametrize("flat", [False, True])
def test_encoded_images_are_classified(caller, flat):
    probabilities = caller.classify(encoded(FILES, flat=flat))
    assert probabilities.shape == (len(FILES), len(LABELS))
    assert probabilities.dtype == np.float32
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert probabilities.argmax(axis=1).tolist() == TRUTH


def test_files_of_equal_length_are_classified(caller):
    """The way of Triton's ensemble_image_client.py: an array of numpy's own bytes."""
    files = np.stack([np.array([file], dtype=bytes) for file in FILES])
    assert caller.classify(files).argmax(axis=1).tolist() == TRUTH


@pytest.mark.parametrize("model", [MODEL, PIXELS])
def test_pixels_are_classified(caller, model):
    probabilities = caller.classify(GREY, model)
    assert probabilities.shape == (2, len(LABELS))
    assert np.array_equal(probabilities, caller.classify(GREY, MODEL))


def test_pixels_of_any_size_are_resized(caller):
    large = np.repeat(np.repeat(GREY, 2, axis=1), 3, axis=2)
    assert np.allclose(caller.classify(large), caller.classify(GREY), atol=1e-6)


def test_an_answer_says_of_what_it_is(caller):
    answer = caller.infer(ONE, request_id="mine", model_version="1").get_response()
    said = answer if caller.http else {n: getattr(answer, n) for n in ("id", "model_version")}
    assert (said["id"], said["model_version"]) == ("mine", "1")
    assert (answer["model_name"] if caller.http else answer.model_name) == MODEL
    silent = caller.infer(GREY, PIXELS).get_response()
    assert (silent.get("id", "") if caller.http else silent.id) == ""


def test_an_output_may_be_requested(caller):
    outputs = [caller.module.InferRequestedOutput("probabilities")]
    assert np.array_equal(
        caller.infer(ONE, outputs=outputs).as_numpy("probabilities"), caller.classify(ONE)
    )


def test_classes_are_returned_with_their_labels(caller):
    outputs = [caller.module.InferRequestedOutput("probabilities", class_count=3)]
    rows = caller.infer(encoded(FILES), outputs=outputs).as_numpy("probabilities")
    assert rows.shape == (len(FILES), 3)
    probabilities = caller.classify(encoded(FILES))
    for row, scores in zip(rows, probabilities, strict=True):
        found = [word.decode().split(":") for word in row]
        best = np.argsort(-scores)[:3]
        assert [int(index) for _, index, _ in found] == best.tolist()
        assert [label for _, _, label in found] == [LABELS[i] for i in best]
        assert np.allclose([float(value) for value, _, _ in found], scores[best], atol=1e-5)


def test_unknown_parameters_are_ignored(caller):
    parameters = {"theirs": "x", "number": 7, "flag": True}
    assert caller.infer(ONE, parameters=parameters).as_numpy("probabilities").shape == (1, 10)
    assert caller.infer(ONE, priority=1, timeout=10_000_000).as_numpy("probabilities").size == 10


def test_the_timeout_of_a_request_rules(caller):
    status, message = infer_refusal(caller, caller.given(encoded(FILES * 10)), timeout=1)
    assert status in EXPIRED
    assert message


def test_an_unknown_model_is_not_found(caller):
    status, message = infer_refusal(caller, caller.given(ONE), "nothing")
    assert status in NOT_FOUND
    assert "nothing" in message
    assert MODEL in message
    status, message = infer_refusal(caller, caller.given(ONE), model_version="7")
    assert status in NOT_FOUND
    assert "7" in message
    for method in ("get_model_metadata", "get_model_config", "get_inference_statistics"):
        assert refusal(caller, method, "nothing")[0] in NOT_FOUND


@pytest.mark.parametrize(
    ("array", "model", "says"),
    [
        (encoded([FILES[0], b"no image", FILES[1]]), MODEL, "1"),
        (encoded([b""]), MODEL, "0"),
        (np.zeros((0, 1), np.object_), MODEL, ""),
        (np.zeros((1, 28, 28, 3), np.float32), MODEL, "FP32"),
        (np.zeros((1, 28, 28, 3), np.float32), PIXELS, "FP32"),
        (np.zeros((28, 28, 3), np.uint8), MODEL, "28"),
        (np.zeros((1, 28, 28, 1), np.uint8), PIXELS, "28"),
        (np.zeros((1, 30, 28, 3), np.uint8), PIXELS, "30"),
        (np.full((1, 1, 1), FILES[0], np.object_), MODEL, "1"),
        (ONE, PIXELS, "BYTES"),
    ],
    ids=[
        *("not-an-image", "empty-file", "no-image", "floats", "floats-as-pixels", "three-axes"),
        *("grey-pixels", "wrong-size", "three-axes-of-files", "file-as-pixels"),
    ],
)
def test_a_bad_input_is_refused_with_a_sentence(caller, array, model, says):
    status, message = infer_refusal(caller, caller.given(array), model)
    assert status in INVALID
    assert says in message
    assert " " in message.strip()
    assert "Traceback" not in message


def test_a_wrong_name_is_refused_with_a_sentence(caller):
    status, message = infer_refusal(caller, caller.given(ONE, name="picture"))
    assert status in INVALID
    assert "picture" in message
    assert "images" in message
    outputs = [caller.module.InferRequestedOutput("scores")]
    status, message = infer_refusal(caller, caller.given(ONE), outputs=outputs)
    assert status in INVALID
    assert "scores" in message
    assert "probabilities" in message


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("get_trace_settings", ()),
        ("update_trace_settings", (MODEL, {"trace_rate": "1"})),
        ("get_log_settings", ()),
        ("update_log_settings", ({"log_info": True},)),
        ("get_system_shared_memory_status", ()),
        ("register_system_shared_memory", ("region", "/region", 64)),
        ("unregister_system_shared_memory", ("region",)),
        ("get_cuda_shared_memory_status", ()),
        ("register_cuda_shared_memory", ("region", b"aGFuZGxl", 0, 64)),
        ("unregister_cuda_shared_memory", ("region",)),
    ],
)
def test_what_is_not_offered_is_refused_with_a_sentence(caller, method, arguments):
    status, message = refusal(caller, method, *arguments)
    assert status in ABSENT
    assert len(message.split()) > 3


@pytest.mark.parametrize("method", ["load_model", "unload_model"])
def test_a_server_without_a_repository_says_how_to_have_one(caller, method):
    status, message = refusal(caller, method, MODEL)
    assert status in {"StatusCode.FAILED_PRECONDITION", "409"}
    assert "--repository" in message


def test_shared_memory_of_a_tensor_is_refused_with_a_sentence(caller):
    given = caller.module.InferInput("images", [1, 1], "BYTES")
    given.set_shared_memory("region", 64)
    status, message = infer_refusal(caller, given)
    assert status in ABSENT | INVALID
    assert "shared" in message
