"""Loading and unloading with tritonclient: a repository with two versions, both on disk."""

import pytest
from callers import FILES, MODEL, PIXELS, TRUTH, encoded
from tritonclient.utils import InferenceServerException

INVALID = {"StatusCode.INVALID_ARGUMENT", "400"}
NOT_FOUND = {"StatusCode.NOT_FOUND", "404"}
FAILED = {"StatusCode.FAILED_PRECONDITION", "409"}


@pytest.fixture(autouse=True)
def _nothing_loaded(caller):
    """Begin with nothing."""
    caller.call("unload_model", MODEL)


def refusal(caller, method, *arguments, **flags):
    """Return what the client says when the call fails."""
    with pytest.raises(InferenceServerException) as caught:
        caller.call(method, *arguments, **flags)
    return caught.value.status(), caught.value.message()


def states(caller):
    """Return the state of each version."""
    index = caller.read("get_model_repository_index")
    listed = index if caller.http else index["models"]
    return {f"{one['name']}/{one['version']}": one["state"] for one in listed}


def test_a_loaded_model_answers_and_an_unloaded_one_does_not(caller):
    assert not caller.call("is_model_ready", MODEL)
    caller.call("load_model", MODEL)
    assert caller.call("is_model_ready", MODEL)
    assert caller.call("is_model_ready", PIXELS, "2")
    assert not caller.call("is_model_ready", MODEL, "1")
    assert caller.classify(encoded(FILES)).argmax(axis=1).tolist() == TRUTH
    caller.call("unload_model", MODEL)
    assert not caller.call("is_model_ready", MODEL)
    status, message = refusal(caller, "infer", MODEL, [caller.given(encoded(FILES[:1]))])
    assert status in {"StatusCode.UNAVAILABLE", "503"}
    assert "no model is loaded" in message


def test_the_index_lists_what_is_not_loaded_too(caller):
    assert set(states(caller).values()) == {"UNAVAILABLE"}
    caller.call("load_model", MODEL)
    of_model = {one: state for one, state in states(caller).items() if one.startswith(MODEL)}
    assert of_model == {
        f"{MODEL}/1": "UNAVAILABLE",
        f"{MODEL}/2": "READY",
        f"{PIXELS}/1": "UNAVAILABLE",
        f"{PIXELS}/2": "READY",
    }


def test_what_would_change_a_sealed_bundle_is_refused(caller):
    status, message = refusal(caller, "load_model", MODEL, config='{"name": "other"}')
    assert status in INVALID
    assert "sealed" in message
    files = {"file:1/model.onnx": b"bytes"}
    status, message = refusal(caller, "load_model", MODEL, config="{}", files=files)
    assert status in INVALID
    assert "sealed" in message


def test_dependents_are_no_question(caller):
    caller.call("load_model", MODEL)
    caller.call("unload_model", MODEL, unload_dependents=True)
    assert not caller.call("is_model_ready", MODEL)


def test_a_model_that_is_not_there(caller):
    for method in ("load_model", "unload_model"):
        status, message = refusal(caller, method, "nothing")
        assert status in NOT_FOUND
        assert "nothing" in message


def test_a_bundle_that_does_not_prove_itself_is_not_loaded(caller):
    status, message = refusal(caller, "load_model", "broken")
    assert status in FAILED
    assert "broken/1 is not loaded" in message
    assert states(caller)["broken/1"] == "UNAVAILABLE"
