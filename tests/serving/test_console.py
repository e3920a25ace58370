import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bundle.store import Bundle
from serving.config import ServingConfig
from serving.console import banner
from tests.support.paths import SHIPPED
from tests.support.process import start


def config(**settings: object) -> ServingConfig:
    return ServingConfig.model_validate({"model": ["a"], **settings})


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("::", "localhost"),
        ("0.0.0.0", "localhost"),
        ("::1", "localhost"),
        ("fd00::2", "[fd00::2]"),
        ("10.0.0.7", "10.0.0.7"),
    ],
)
def test_the_address_can_be_used_as_printed(tiny: Path, host: str, shown: str) -> None:
    lines = banner(Bundle.open(tiny), config(host=host, insecure=True), 1, 2).splitlines()
    assert lines[0] == f"gRPC  {shown}:1"
    assert lines[1] == f"HTTP  http://{shown}:2/metrics"
    assert lines[2].endswith(f"--address {shown}:1")
    assert lines[3].endswith(f" http://{shown}:2/v1/classify")


def test_the_page_is_told_if_there_is_one(tiny: Path) -> None:
    assert "Page" not in banner(Bundle.open(tiny), config(page="off"), 1, 2)
    lines = banner(Bundle.open(tiny), config(), 1, 2).splitlines()
    assert lines[-1] == "Page  http://localhost:2/"


def test_a_path_with_spaces_is_quoted(tiny: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny, tmp_path / "my models/1")
    lines = banner(Bundle.open(copy), config(), 1, 2).splitlines()
    assert f"classify '{copy}/golden/ant_0.png' --address" in lines[2]
    assert f"curl -T '{copy}/golden/ant_0.png' http" in lines[3]


def test_commands_name_what_the_server_wants_to_see(tiny: Path) -> None:
    files = {"tls_cert": "c.pem", "tls_key": "c.key", "tls_client_ca": "a.pem", "token_file": "t"}
    _, http, client, curl, _ = banner(Bundle.open(tiny), config(**files), 1, 2).splitlines()
    assert http == "HTTP  https://localhost:2/metrics"
    assert client.endswith(" --tls-ca CA.pem --tls-cert CLIENT.pem --tls-key CLIENT.key")
    assert "curl --cacert CA.pem --cert CLIENT.pem --key CLIENT.key -H " in curl
    assert '"authorization: Bearer $CLIENTS_TOKEN" -T ' in curl
    assert curl.endswith(" https://localhost:2/v1/classify")


def devices(*flags: str) -> str:
    command = [sys.executable, "-m", "serving", "devices", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr == ""
    return done.stdout


def test_the_list_names_what_runs_and_what_the_rest_lacks() -> None:
    found = {
        (row["device"], row["runtime"]): row["missing"] for row in json.loads(devices("--json"))
    }
    assert found["cpu", "onnxruntime"] is found["cpu", "openvino"] is None
    assert {device.partition(":")[0] for device, _ in found} == {
        "cpu",
        "cuda",
        "tensorrt",
        "ascend",
    }
    assert {runtime for device, runtime in found if device == "ascend:0"} == {
        "mindspore-lite",
        "onnxruntime",
    }
    assert "onnxruntime-cann" in found["ascend:0", "onnxruntime"]


def test_the_table_has_a_line_for_each() -> None:
    lines = devices("--lite-python", sys.executable).splitlines()
    [cpu] = [line for line in lines if line.startswith("cpu") and "onnxruntime" in line]
    assert cpu.split() == ["cpu", "onnxruntime", "yes"]
    [lite] = [line for line in lines if line.startswith("cpu") and "mindspore-lite" in line]
    assert "no" in lite.split()
    assert "--lite-python" in lite


def test_a_server_for_a_device_that_is_not_there_does_not_start() -> None:
    process = start(SHIPPED, "--device", "cuda:99")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "cannot run on cuda:99: onnxruntime: " in errors
    assert "Traceback" not in errors
