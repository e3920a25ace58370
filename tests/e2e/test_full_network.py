"""ResNeXt152-64x4d with random weights through export and serving, and a drain under load.

The checkpoint is one of the upstream's, trained on Ascend or a CPU: each grouped convolution is 64.
"""

import signal
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor, nn, ops, save_checkpoint

from bundle.golden import GOLDEN, GoldenSet, prove_pixels
from bundle.store import Bundle
from clients.client import ClassifierClient
from clients.types import ImageFailure, Prediction
from export.parity import open_runner
from export.parity_record import read_parity
from tests.support.checkpoints import stirred
from tests.support.lite import convert
from tests.support.process import Server, metric, run, serve
from tests.support.upstream import group_by_group, split

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CLASSES = 1000
ARCHITECTURE = "resnext152_64x4d"
IN_FLIGHT = 8


@pytest.fixture(scope="module")
def network() -> nn.Cell:
    return stirred(ARCHITECTURE, CLASSES)


@pytest.fixture(scope="module")
def bundle(network: nn.Cell, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The full network, exported with golden probabilities that MindSpore recorded."""
    folder = tmp_path_factory.mktemp("full")
    weights = [{"name": n, "data": Tensor(v)} for n, v in split(network).items()]
    save_checkpoint(weights, str(folder / "upstream.ckpt"))
    arguments = ("--ckpt_file", folder / "upstream.ckpt")
    run("export", *arguments, "--output", folder, "--batch_size", "4")
    return Bundle.open(folder / ARCHITECTURE / "1")


def test_probabilities_equal_mindspores_on_the_layout_of_64_convolutions(
    network: nn.Cell, bundle: Bundle
) -> None:
    _, pixels = prove_pixels(bundle)
    normalization = bundle.manifest.normalization
    normal = (pixels[:1] - np.array(normalization.mean)) / np.array(normalization.std)
    images = Tensor(normal.transpose(0, 3, 1, 2).astype(np.float32))
    layout = group_by_group(network)
    assert len(layout.backbone.layer4[2].conv2.convs) == 64
    expected = ops.softmax(layout(images), axis=1).asnumpy()
    runner = open_runner(bundle.path, bundle.manifest, bundle.manifest.files[0], "cpu")
    assert np.ptp(expected) > 0.1, "even answers would prove nothing"
    np.testing.assert_allclose(runner.predict(pixels[:1]), expected, atol=1e-5, rtol=0)


def test_probabilities_over_grpc_equal_mindspores(bundle: Bundle) -> None:
    golden = GoldenSet.model_validate_json((bundle.path / GOLDEN).read_bytes())
    images = [bundle.path / image.path for image in golden.images]
    expected = np.array([image.probabilities for image in golden.images], np.float32)
    assert np.ptp(expected, axis=1).min() > 0.01, "even answers would prove nothing"
    with (
        serve(bundle.path, "--grace-period-s", "300") as server,
        ClassifierClient(server.grpc) as client,
    ):
        results = client.classify(images, full_probabilities=True, timeout_s=300)
        actual = [r.probabilities for r in results if isinstance(r, Prediction)]
        np.testing.assert_allclose(np.array(actual), expected, atol=1e-5, rtol=0)
        _drain(server, client, images[0])


def _drain(server: Server, client: ClassifierClient, image: Path) -> None:
    """Ask for several images at once, end the server once it holds them all: all are answered."""
    answered = _accepted(server)
    with ThreadPoolExecutor(IN_FLIGHT) as callers:
        calls = [callers.submit(client.classify, [image], timeout_s=300) for _ in range(IN_FLIGHT)]
        _wait_until_accepted(server, answered + IN_FLIGHT)
        server.process.send_signal(signal.SIGTERM)
        answers: list[Prediction | ImageFailure] = []
        for call in as_completed(calls):
            answers += call.result()
    assert len(answers) == IN_FLIGHT
    assert all(isinstance(answer, Prediction) for answer in answers)
    assert server.process.wait(300) == 0


def _wait_until_accepted(server: Server, images: float) -> None:
    deadline = time.monotonic() + 120
    while _accepted(server) < images:
        assert time.monotonic() < deadline, f"the server never accepted {images} images"


def _accepted(server: Server) -> float:
    """Return how many images the server has taken so far, answered or in flight."""
    return metric(server, "serving_inflight_images") + metric(server, "serving_images_total")


def test_mindspore_lite_gives_mindspores_probabilities(
    bundle: Bundle, lite_python: Path, tmp_path: Path
) -> None:
    """The conversion runs the golden images in the worker that serves, in the server's batches."""
    converted = convert(bundle.path, tmp_path)
    parity = read_parity(converted).files[-1]
    assert (parity.runtime, parity.compared_with) == ("mindspore-lite", "golden")
    assert 0 < parity.largest_difference < 1e-5
