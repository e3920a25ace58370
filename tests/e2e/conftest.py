from collections.abc import Iterator

import pytest

from tests.support.paths import SHIPPED
from tests.support.process import Server, serve


@pytest.fixture(scope="session")
def shipped_server() -> Iterator[Server]:
    """A server of the bundle that ships with the repository."""
    with serve(SHIPPED) as server:
        yield server
