"""The shipped bundle, converted, through a real server on the real MindSpore Lite."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import grpc
import numpy as np
import psutil
import pytest

from bundle.store import Bundle
from clients.client import ClassifierClient
from clients.types import Prediction
from protos import classifier_pb2 as pb
from protos.classifier_pb2_grpc import ClassifierStub
from serving.backends.backend import predict
from serving.backends.devices import Device
from serving.backends.runtimes import load
from tests.support.lite import shared_memory
from tests.support.paths import FASHION_MNIST, SAMPLES
from tests.support.process import Server, metric, serve
from training.data.datasets import open_dataset

SAMPLE = SAMPLES / "bag_30.png"


@contextmanager
def lite_server(bundle: Path, python: Path, *flags: str) -> Iterator[Server]:
    """Serve with one worker."""
    runtime = ["--runtime", "mindspore-lite", "--lite-python", str(python)]
    with serve(bundle, *runtime, "--instances", "1", *flags) as server:
        yield server


def worker(server: Server) -> psutil.Process:
    [process] = psutil.Process(server.process.pid).children()
    return process


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline


@pytest.mark.slow
def test_all_test_images_give_what_onnx_runtime_gives_in_every_bucket(
    lite_bundle: Path, lite_python: Path
) -> None:
    """A server per bucket, each for a share of the images."""
    dataset = open_dataset(FASHION_MNIST, "test")
    encoded = [dataset.encoded(index) for index in range(len(dataset))]
    bundle = Bundle.open(lite_bundle)
    file = bundle.file("onnx", "fp32")
    [onnx] = load(lite_bundle, bundle.manifest, file, device=Device("cpu"))
    expected = predict(
        onnx, file.buckets, np.stack([bundle.manifest.transform.decode(data) for data in encoded])
    )
    results: list[Prediction] = []
    for bucket, share in zip(file.buckets, _shares(encoded, len(file.buckets)), strict=True):
        with (
            lite_server(lite_bundle, lite_python, "--buckets", str(bucket)) as server,
            ClassifierClient(server.grpc) as client,
        ):
            results += _ask(client, share)
    actual = np.array([result.probabilities for result in results], np.float32)
    np.testing.assert_allclose(actual, expected, atol=1e-5, rtol=0)
    labels = [dataset.label(index) for index in range(len(dataset))]
    assert bundle.manifest.accuracy
    correct = bundle.manifest.accuracy.top1_correct
    assert (actual.argmax(1) == labels).sum() == (expected.argmax(1) == labels).sum() == correct


def _shares(encoded: list[bytes], shares: int) -> Iterator[list[bytes]]:
    size = math.ceil(len(encoded) / shares)
    return (encoded[start : start + size] for start in range(0, len(encoded), size))


@contextmanager
def _held(process: psutil.Process) -> Iterator[None]:
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def _ask(client: ClassifierClient, images: Sequence[bytes | Path]) -> list[Prediction]:
    calls = [images[start : start + 128] for start in range(0, len(images), 128)]
    results = [
        result
        for call in calls
        for result in client.classify(call, full_probabilities=True, timeout_s=120)
    ]
    assert all(isinstance(result, Prediction) for result in results)
    return cast("list[Prediction]", results)


def _fail(server: Server) -> str:
    """Ask once, without the client's retries; return what the server says of its failure."""
    request = pb.ClassifyRequest(images=[pb.Image(encoded=SAMPLE.read_bytes())])
    options = [("grpc.enable_retries", 0)]
    with (
        grpc.insecure_channel(server.grpc, options) as channel,
        pytest.raises(grpc.RpcError) as failed,
    ):
        ClassifierStub(channel).Classify(request, timeout=120)
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    return str(failed.value.details())


def test_a_killed_worker_costs_its_batch_and_nothing_else(
    lite_bundle: Path, lite_python: Path
) -> None:
    with (
        lite_server(lite_bundle, lite_python) as server,
        ClassifierClient(server.grpc) as client,
        ThreadPoolExecutor(1) as callers,
    ):
        before = _ask(client, [SAMPLE])
        pid = server.process.pid
        [file] = shared_memory(pid)
        killed = worker(server)
        killed.suspend()  # so that the batch is not over before it is killed
        lost = callers.submit(_fail, server)
        until(lambda: metric(server, "serving_inflight_images") == 1)
        until(lambda: metric(server, "serving_queue_images") == 0)
        killed.kill()
        assert f"worker {killed.pid} ended with -9" in lost.result(60)
        assert _ask(client, [SAMPLE])[0].probabilities == before[0].probabilities
        assert worker(server).pid != killed.pid
        # The failed batch's traceback holds it, in a cycle, until that is collected.
        until(lambda: bool(_ask(client, [SAMPLE])) and file not in shared_memory(pid))


def test_a_hanging_worker_costs_its_batch_at_the_deadline(
    lite_bundle: Path, lite_python: Path
) -> None:
    small = ("--buckets", "1")  # even a slow machine warms it up within the second
    with (
        lite_server(lite_bundle, lite_python, "--batch-timeout-s", "1", *small) as server,
        ClassifierClient(server.grpc) as client,
    ):
        worker(server).suspend()
        assert "did not answer within 1 s and was killed" in _fail(server)
        _ask(client, [SAMPLE])
