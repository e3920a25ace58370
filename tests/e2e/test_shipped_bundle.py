"""The bundle that ships with the repository, through a real server process."""

import re
import subprocess
from collections.abc import Iterator

import grpc
import pytest
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from bundle.store import Bundle
from clients.client import ClassifierClient
from clients.types import Prediction
from tests.support.paths import FASHION_MNIST, ROOT, SAMPLES, SHIPPED
from tests.support.process import Server, metric, serve, serve_repository
from training.data.datasets import open_dataset


@pytest.fixture(scope="module")
def both() -> Iterator[Server]:
    """A server of the repository that ships, with both versions."""
    with serve_repository(ROOT / "models", "--version-policy", "all") as server:
        yield server


@pytest.mark.parametrize("version", ["1", "2"])
def test_all_test_images_give_the_top1_count_of_the_manifest(both: Server, version: str) -> None:
    dataset = open_dataset(FASHION_MNIST, "test")
    accuracy = Bundle.open(SHIPPED.parent / version).manifest.accuracy
    assert accuracy
    assert accuracy.images == len(dataset) == 10_000
    count = f'serving_images_total{{.*outcome="ok".*version="{version}"'
    answered = metric(both, count)
    correct = 0
    with ClassifierClient(both.grpc) as client:
        for start in range(0, len(dataset), 64):
            batch = range(start, min(start + 64, len(dataset)))
            images = [dataset.encoded(i) for i in batch]
            results = client.classify(images, version=version, top_k=1, timeout_s=60)
            for i, result in zip(batch, results, strict=True):
                assert isinstance(result, Prediction)
                correct += result.classes[0].index == dataset.label(i)
    assert correct == accuracy.top1_correct
    assert metric(both, count) == answered + 10_000
    assert metric(both, "serving_images_per_second") > 0


def test_the_newest_version_is_the_better_and_no_large_one(both: Server) -> None:
    with ClassifierClient(both.grpc) as client:
        newest = client.get_model("fashion_resnext")
    assert newest.version == "2"
    # Anything else would be listed as a version that cannot be served.
    assert {path.name for path in SHIPPED.parent.iterdir()} == {"1", "2"}
    first, second = (Bundle.open(SHIPPED.parent / version) for version in ("1", "2"))
    assert second.manifest.accuracy.top1_correct > first.manifest.accuracy.top1_correct
    assert sum(path.stat().st_size for path in second.path.rglob("*")) < 3 * 2**20


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
