"""Programs of others against the real server."""

from collections.abc import Iterator

import pytest

from tests.support.paths import SHIPPED
from tests.support.process import Server, serve

collect_ignore = ["foreign"]  # for the interpreter of .venv-oip


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve(SHIPPED) as server:
        yield server
