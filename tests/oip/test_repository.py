"""Clients of Triton load and unload models."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bundles import copy_bundle, spoil, write_bundle
from tests.support.foreign import foreign
from tests.support.paths import SHIPPED
from tests.support.process import Server, serve_repository

FOREIGN = Path(__file__).parent / "foreign"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("models")
    for version in ("1", "2"):
        copy_bundle(SHIPPED, root, version)
    spoil(write_bundle(root, "broken"))
    flags = ("--model-control", "explicit", "--instances", "1", "--buckets", "1,8")
    with serve_repository(root, *flags) as server:
        yield server


def test_they_load_and_unload(server: Server) -> None:
    flags = ("-c", FOREIGN / "pytest.ini", "-p", "no:cacheprovider", "--quiet")
    done = foreign(
        *("-m", "pytest", *flags, FOREIGN / "repository"),
        SERVER_GRPC=server.grpc,
        SERVER_HTTP=server.http.removeprefix("http://"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
