"""The tests of both services once more, through a front end: callers must see no difference."""

import inspect
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from serving.server import Server
from tests.serving.api import test_classify, test_deadlines, test_probes, test_stream
from tests.serving.api.conftest import calling
from tests.serving.api.oip import conftest as oip_conftest
from tests.serving.api.oip import test_catalog, test_infer
from tests.serving.api.oip import test_deadlines as test_oip_deadlines
from tests.serving.api.oip import test_stream as test_oip_stream
from tests.support.serving import running_server

if TYPE_CHECKING:
    from protos.classifier_pb2_grpc import ClassifierAsyncStub
    from protos.open_inference_pb2_grpc import GRPCInferenceServiceAsyncStub

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

MODULES = (
    test_classify,
    test_stream,
    test_deadlines,
    test_probes,
    test_infer,
    test_oip_stream,
    test_oip_deadlines,
    test_catalog,
)
LEFT_OUT = {
    # They look into the process that answers, or change it: that is another one here.
    "test_a_response_of_many_classes_is_built_in_a_thread_of_its_own",
    "test_a_large_answer_waits_for_those_before_it",
    "test_many_strings_are_made_in_a_thread_of_their_own",
    "test_a_refusal_leaves_nothing_to_the_garbage_collector",
    "test_an_image_that_fails_alone_leaves_nothing_either",
    "test_an_image_that_fails_leaves_nothing",
    "test_a_request_in_flight_does_not_hold_its_message",
    "test_a_request_of_a_stream_does_not_hold_its_message",
    # What the engine decides, a front end knows a moment later: health, and a drain.
    "test_health_lists_the_server_its_service_and_its_models",
    "test_health_follows_the_life_of_the_server",
    "test_draining_answers_all_that_is_in_flight",
    # They count all that a server has had, and this one has had more.
    "test_metrics_count_what_was_sent",
    "test_statistics_agree_with_prometheus",
    "test_both_names_of_a_model_have_its_statistics",
    # They ask over HTTP alone.
    "test_readyz_follows_it_too_and_healthz_does_not",
    "test_an_unknown_path_is_not_found",
}


def _borrowed() -> Iterator[tuple[str, object]]:
    """Yield the tests that need a server, under names that tell the services apart."""
    for module in MODULES:
        kind = "test_oip" if ".oip." in module.__name__ else "test"
        for name, test in vars(module).items():
            if not name.startswith("test_") or name in LEFT_OUT:
                continue
            if inspect.signature(test).parameters.keys() & {"server", "stub", "oip", "tiny"}:
                yield name.replace("test", kind, 1), test


globals().update(_borrowed())


@pytest.fixture(autouse=True, scope="module")
def _front_end() -> Iterator[None]:
    """Have all servers take their calls in another process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SERVING_FRONTENDS", "1")
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(_front_end: None, tiny: Path) -> AsyncIterator[Server]:
    """A server of the small bundle."""
    async with running_server(tiny) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def stub(server: Server) -> AsyncIterator["ClassifierAsyncStub"]:
    """A stub that calls it."""
    async with calling(server) as calls:
        yield calls


@pytest_asyncio.fixture(loop_scope="module")
async def oip(server: Server) -> AsyncIterator["GRPCInferenceServiceAsyncStub"]:
    """Another stub that calls it."""
    async with oip_conftest.inferring(server) as calls:
        yield calls
