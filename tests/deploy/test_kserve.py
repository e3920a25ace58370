"""KServe's runtimes: read by its own models, chosen without doubt, and started for real."""

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from clients import ClassifierClient, Prediction
from serving.config import ServingConfig
from tests.deploy.chart import CHART, Object
from tests.deploy.pods import moved, running
from tests.support.paths import ROOT, SAMPLES, SHIPPED

FOLDER = ROOT / "deploy/kserve"
MODELS = Path(__file__).with_name("kserve_models.py")
VERSION = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
IMAGE = SAMPLES / "sneaker_9.png"


def objects(pattern: str) -> list[Object]:
    files = sorted(FOLDER.glob(pattern))
    return [one for file in files for one in yaml.safe_load_all(file.read_text())]


RUNTIMES, SERVICES = objects("runtimes.yaml"), objects("inferenceservice*.yaml")


def read_by_kserve(*them: Object) -> list[Object]:
    python = ROOT / ".venv-oip/bin/python"
    done = subprocess.run(
        [python, MODELS], input=json.dumps(them), text=True, capture_output=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_kserve_knows_every_field() -> None:
    them = [*RUNTIMES, *SERVICES]
    assert len(them) == 4
    assert read_by_kserve(*them) == them


def test_that_check_can_fail() -> None:
    wrong = []
    for path in (
        ("supportedModelFormats", 0, "autoselect"),
        ("containers", 0, "readinessProbe", "httpGet", "url"),
        ("containers", 0, "securityContext", "readOnly"),
    ):
        wrong.append(copy.deepcopy(RUNTIMES[0]))
        place: Any = wrong[-1]["spec"]
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = True
    assert read_by_kserve(*wrong) == [RUNTIMES[0]] * 3


def runtime(service: Object) -> Object:
    """Return the one that KServe chooses for a model of that format and protocol."""
    model = service["spec"]["predictor"]["model"]
    [found] = [
        one
        for one in RUNTIMES
        if model["protocolVersion"] in one["spec"]["protocolVersions"]
        and any(
            format_["name"] == model["modelFormat"]["name"] and format_.get("autoSelect")
            for format_ in one["spec"]["supportedModelFormats"]
        )
    ]
    return found


def container(service: Object) -> Object:
    """Return its container, for this InferenceService."""
    [one] = runtime(service)["spec"]["containers"]
    name = service["metadata"]["name"]
    return {**one, "args": [word.replace("{{.Name}}", name) for word in one["args"]]}


@pytest.mark.parametrize("one", RUNTIMES, ids=lambda one: one["metadata"]["name"])
def test_a_runtime_fits_together(one: Object) -> None:
    [made] = one["spec"]["containers"]
    stated = ServingConfig(_cli_parse_args=[w.replace("{{.Name}}", "x") for w in made["args"]])
    assert stated.shutdown_delay_s + stated.grace_period_s + 1 < 30  # what a pod has by default
    ports = {"http1": stated.http_port, "h2c": stated.grpc_port}
    [port] = made["ports"]  # Knative takes no more
    assert port["containerPort"] == ports[port["name"]]
    assert one["spec"]["annotations"]["prometheus.kserve.io/port"] == str(stated.http_port)
    assert {format_["name"] for format_ in one["spec"]["supportedModelFormats"]} == {
        "resnext-bundle",
        "onnx",
    }
    assert made["image"].endswith(f":{VERSION}")


ASK = """
import asyncio, sys
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

protocol, address, name, image = sys.argv[1:]
given = InferInput("images", [1], "BYTES")
given.set_data_from_numpy(np.array([open(image, "rb").read()], dtype=object))
request = InferRequest(name, [given])

async def ask():
    if protocol == "grpc-v2":
        async with InferenceGRPCClient(address, timeout=30) as client:
            return await client.is_model_ready(name), await client.infer(request)
    client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=30))
    try:
        ready = await client.is_model_ready(address, name)
        return ready, await client.infer(address, request, model_name=name)
    finally:
        await client.close()

ready, answer = asyncio.run(ask())
assert ready
print(answer.model_name, answer.outputs[0].as_numpy().argmax())
"""


@pytest.mark.parametrize("service", SERVICES, ids=lambda one: one["metadata"]["name"])
def test_a_service_answers_by_its_own_name(service: Object, tmp_path: Path) -> None:
    """As KServe lays it out: what storageUri names is /mnt/models itself."""
    shutil.copytree(SHIPPED, tmp_path / "mnt/models")
    name = service["metadata"]["name"]
    with running(tmp_path, container(service)) as pod:
        assert pod.passes("readinessProbe")
        with ClassifierClient(pod.server.grpc) as client:
            [model] = client.list_models()
            assert model.name == name
            [found] = client.classify([IMAGE], model=name)
        assert isinstance(found, Prediction)
        assert found.classes[0].label == "Sneaker"
        protocol = service["spec"]["predictor"]["model"]["protocolVersion"]
        address = pod.server.grpc if protocol == "grpc-v2" else pod.server.http
        words = [ROOT / ".venv-oip/bin/python", "-c", ASK, protocol, address, name, IMAGE]
        done = subprocess.run(words, text=True, capture_output=True, check=False)
        assert done.stdout == f"{name} {found.classes[0].index}\n", done.stderr


def test_an_onnx_file_alone_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "mnt/models").mkdir(parents=True)
    shutil.copy(SHIPPED / "model_fp32.onnx", tmp_path / "mnt/models/model.onnx")
    args = [moved(word, tmp_path) for word in container(SERVICES[0])["args"]]
    ports = ["--host=127.0.0.1", "--grpc-port=0", "--http-port=0"]
    done = subprocess.run(
        [sys.executable, "-m", "serving", *args, *ports], cwd=ROOT, text=True, capture_output=True
    )
    assert done.returncode == 1
    assert "model.onnx alone says neither what its classes are" in done.stderr
    assert "python -m export from-onnx" in done.stderr
