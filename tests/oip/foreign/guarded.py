"""Clients of Triton, in the four ways, against a server that asks who calls.

Not collected: `tests/oip/test_tokens.py` runs it, with a server of its own and `TOKEN`.
"""

import os

import pytest
from callers import FILES, MODEL, TRUTH, encoded
from tritonclient.utils import InferenceServerException

TOKEN = os.environ["TOKEN"]
HEADERS = {"authorization": f"Bearer {TOKEN}"}


def test_health_is_open(caller):
    assert caller.call("is_server_live")
    assert caller.call("is_server_ready")
    assert caller.call("is_model_ready", MODEL)


def test_nobody_is_answered_without_a_token(caller):
    for headers in ({}, {"authorization": "Bearer other"}, {"authorization": f"Basic {TOKEN}"}):
        with pytest.raises(InferenceServerException, match=r"authorization|token") as raised:
            caller.classify(encoded(FILES), headers=headers)
        assert TOKEN not in str(raised.value)
        with pytest.raises(InferenceServerException) as raised:
            caller.call("get_model_metadata", MODEL, headers=headers)
        assert raised.value.status() == ("401" if caller.http else "StatusCode.UNAUTHENTICATED")


def test_a_token_lets_in(caller):
    assert caller.call("get_model_metadata", MODEL, headers=HEADERS)
    assert caller.call("get_model_config", MODEL, headers=HEADERS)
    probabilities = caller.classify(encoded(FILES), headers=HEADERS)
    assert probabilities.argmax(axis=1).tolist() == TRUTH


def test_a_token_that_may_classify_loads_and_counts_nothing(caller):
    for method in ("load_model", "unload_model", "get_inference_statistics"):
        with pytest.raises(InferenceServerException, match="this needs the role") as raised:
            caller.call(method, MODEL, headers=HEADERS)
        assert raised.value.status() == ("403" if caller.http else "StatusCode.PERMISSION_DENIED")
