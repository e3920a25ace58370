"""The bundle that ships with the repository, through a real server process."""

import re
import subprocess

import grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from bundle.store import Bundle
from clients.client import ClassifierClient
from clients.types import Prediction
from tests.support.paths import FASHION_MNIST, ROOT, SAMPLES, SHIPPED
from tests.support.process import Server, metric, serve
from training.data.datasets import open_dataset


def test_all_test_images_give_the_top1_count_of_the_manifest(shipped_server: Server) -> None:
    dataset = open_dataset(FASHION_MNIST, "test")
    accuracy = Bundle.open(SHIPPED).manifest.accuracy
    assert accuracy
    assert accuracy.images == len(dataset) == 10_000
    answered = metric(shipped_server, 'serving_images_total{.*outcome="ok"')
    correct = 0
    with ClassifierClient(shipped_server.grpc) as client:
        for start in range(0, len(dataset), 64):
            batch = range(start, min(start + 64, len(dataset)))
            results = client.classify([dataset.encoded(i) for i in batch], top_k=1, timeout_s=60)
            for i, result in zip(batch, results, strict=True):
                assert isinstance(result, Prediction)
                correct += result.classes[0].index == dataset.label(i)
    assert correct == accuracy.top1_correct
    assert metric(shipped_server, 'serving_images_total{.*outcome="ok"') == answered + 10_000
    assert metric(shipped_server, "serving_images_per_second") > 0


def test_sample_images_get_their_true_class(shipped_server: Server) -> None:
    samples = sorted(SAMPLES.glob("*.png"))
    assert len(samples) == 12
    with ClassifierClient(shipped_server.grpc) as client:
        for sample, result in zip(samples, client.classify(samples), strict=True):
            assert isinstance(result, Prediction)
            slug = re.sub(r"\W+", "_", result.classes[0].label.lower())
            assert sample.stem.startswith(slug), f"{sample.name} was taken for a {slug}"


def test_int8_runs_in_openvino_and_the_server_says_so() -> None:
    with (
        serve(SHIPPED, "--precision", "int8") as server,
        ClassifierClient(server.grpc) as client,
    ):
        results = client.classify(sorted(SAMPLES.glob("*.png")))
        assert all(isinstance(result, Prediction) for result in results)
        model = client.get_model("fashion_resnext")
        assert (model.runtime, model.device, model.precision) == ("openvino", "cpu", "int8")


def test_reflection_lists_the_service(shipped_server: Server) -> None:
    with grpc.insecure_channel(shipped_server.grpc) as channel:
        services = ProtoReflectionDescriptorDatabase(channel).get_services()
    assert {"resnext.serving.v1.Classifier", "grpc.health.v1.Health"} <= set(services)


def test_the_command_of_the_banner_runs(shipped_server: Server) -> None:
    assert shipped_server.grpc.startswith("localhost:")
    assert "t_shirt_top" in shipped_server.command
    answer = subprocess.check_output(shipped_server.command, shell=True, cwd=ROOT, text=True)
    assert re.search(r"t_shirt_top_0.png +T-shirt/top", answer)
