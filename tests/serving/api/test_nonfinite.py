"""A model whose probabilities for a black image are no numbers: 0 / 0 in its normalization."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
import onnx
import pytest
from onnx import helper

from protos import classifier_pb2 as pb
from serving.engine import answers
from serving.server import Server
from tests.serving.api.messages import flat, png
from tests.serving.api.test_classify import refusal, same
from tests.support.bundles import reseal, write_bundle
from tests.support.serving import running_server

if TYPE_CHECKING:
    from protos.classifier_pb2_grpc import ClassifierAsyncStub as Stub


@pytest.fixture(scope="module")
def nan_when_black(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small bundle, whose probabilities are also multiplied by brightness / brightness."""
    path = write_bundle(tmp_path_factory.mktemp("nan"))
    model = onnx.load(path / "model.onnx")
    model.graph.node[-1].output[0] = "numbers"
    model.graph.node.extend(
        [
            helper.make_node("ReduceMax", ["float"], ["bright"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Div", ["bright", "bright"], ["one"]),
            helper.make_node("Unsqueeze", ["one", "axis"], ["ones"]),
            helper.make_node("Mul", ["numbers", "ones"], ["probabilities"]),
        ]
    )
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "axis"))
    onnx.save(model, path / "model.onnx")
    reseal(path)
    return path


@pytest.fixture
async def server(nan_when_black: Path) -> AsyncIterator[Server]:
    async with running_server(nan_when_black) as running:
        yield running


def count(server: Server, name: str, **labels: str) -> float | None:
    bound = {"model": "tiny", "version": "1", **labels}
    return server.metrics.registry.get_sample_value(f"serving_{name}_total", bound)


async def test_its_mates_are_answered_and_it_fails(stub: "Stub", server: Server) -> None:
    black, request = flat(0), pb.ClassifyRequest(images=[png(1), flat(0), png(2)])
    first, failed, last = (await stub.Classify(request)).results
    assert same(first, 1)
    assert same(last, 2)
    assert failed.status.code == grpc.StatusCode.INTERNAL.value[0]
    assert "the model's probabilities for the image are not" in failed.status.message
    assert not failed.classes
    code, message = await refusal(stub, pb.ClassifyRequest(images=[black]))
    assert (code, message) == (grpc.StatusCode.INTERNAL, answers.NONFINITE)
    assert count(server, "images", outcome="failed") == 2
    assert count(server, "images", outcome="ok") == 2
    assert count(server, "nonfinite_images") == 2
    assert count(server, "wasted_images") == 0


async def test_it_is_logged(stub: "Stub", caplog: pytest.LogCaptureFixture) -> None:
    await refusal(stub, pb.ClassifyRequest(images=[flat(0)]))
    [logged] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert logged.getMessage() == f"1 images of a batch of 1 fail: {answers.NONFINITE}"
    assert not logged.exc_info
