"""Clients of others, against a server whose addresses the environment has."""

import pytest
from callers import Caller

FLAVOURS = ["grpc", "grpc.aio", "http", "http.aio"]


@pytest.fixture(scope="module", params=FLAVOURS)
def caller(request):
    caller = Caller(request.param)
    yield caller
    caller.close()


@pytest.fixture(scope="module")
def grpc_caller():
    caller = Caller("grpc")
    yield caller
    caller.close()


@pytest.fixture(scope="module")
def http_caller():
    caller = Caller("http")
    yield caller
    caller.close()
