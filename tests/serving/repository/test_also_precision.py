"""A bundle that is served in more precisions than one."""

from collections.abc import Iterator

import pytest

from clients import ClassifierClient
from clients.errors import RequestError
from tests.support.paths import SAMPLES, SHIPPED
from tests.support.process import serve

IMAGE = SAMPLES / "sneaker_9.png"


@pytest.fixture(scope="module")
def client() -> Iterator[ClassifierClient]:
    with (
        serve(SHIPPED, "--also-precision", "int8") as server,
        ClassifierClient(server.grpc) as client,
    ):
        yield client


def test_who_names_no_version_gets_the_usual_precision(client: ClassifierClient) -> None:
    model = client.get_model()
    assert (model.version, model.precision) == ("1", "fp32")


def test_the_other_is_a_version_of_its_own(client: ClassifierClient) -> None:
    assert [(m.version, m.precision) for m in client.list_models()] == [
        ("1-int8", "int8"),
        ("1", "fp32"),
    ]
    [usual] = client.classify([IMAGE], timeout_s=10)
    [other] = client.classify([IMAGE], version="1-int8", timeout_s=10)
    assert usual.classes[0].label == other.classes[0].label == "Sneaker"
    assert usual.classes[0].probability != other.classes[0].probability
    with pytest.raises(RequestError, match="no version '1-bf16'"):
        client.get_model(version="1-bf16")
