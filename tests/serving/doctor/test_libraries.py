"""Packages: what must not be beside each other, what is missing, and what is of another time."""

import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from serving.doctor import libraries
from serving.doctor.libraries import disagreements, rivals, unusable
from tests.serving.doctor.conftest import Checked

STATED = [
    "pydantic>=2",
    'numpy>=2.0; extra == "images"',
    'resnext-serving[images]; extra == "server"',
    'grpcio<1.86,>=1.85; extra == "server"',
    'resnext-serving[server]; extra == "serving"',
    'onnxruntime>=1.32; extra == "serving"',
    'openvino>=2026.4; platform_machine == "none" and extra == "serving"',
    'mindspore; extra == "training"',
]
INSTALLED = {"pydantic": "2.12", "numpy": "2.4", "grpcio": "1.85.1", "onnxruntime": "1.32.0"}


def test_this_environment_is_in_order(checked: Checked) -> None:
    [finding] = checked("libraries")
    assert finding.status == "ok"


def test_what_agrees_is_not_mentioned() -> None:
    assert [*disagreements(STATED, "serving", INSTALLED)] == []


@pytest.mark.parametrize(
    ("name", "version", "found", "advice"),
    [
        ("grpcio", "1.86.0", "grpcio is 1.86.0, and this needs grpcio<1.86,>=1.85", "<1.86,>=1.85"),
        ("numpy", "1.26.4", "numpy is 1.26.4, and this needs numpy>=2.0", "numpy>=2.0"),
        ("numpy", "2.0rc1", "numpy is 2.0rc1, and", "numpy>=2.0"),
        ("onnxruntime", "1.30.0", "onnxruntime is 1.30.0, and", "onnxruntime>=1.32"),
        ("pydantic", None, "pydantic is not installed", "pydantic>=2"),
        ("grpcio", None, "grpcio is not installed", "grpcio<1.86"),
    ],
)
def test_what_disagrees_fails(name: str, version: str | None, found: str, advice: str) -> None:
    others = {other: of for other, of in INSTALLED.items() if other != name}
    installed = others | ({name: version} if version else {})
    [finding] = disagreements(STATED, "serving", installed)
    assert finding.status == "fail"
    assert finding.found.startswith(found)
    assert advice in finding.advice


def test_whether_a_runtime_must_be_there_is_for_the_models_to_say() -> None:
    installed = {name: of for name, of in INSTALLED.items() if name != "onnxruntime"}
    assert [*disagreements(STATED, "serving", installed)] == []


def test_packages_that_overwrite_each_other_fail() -> None:
    [finding] = rivals(INSTALLED | {"onnxruntime-gpu": "1.31", "opencv-python": "5"})
    assert finding.status == "fail"
    assert finding.found.startswith("onnxruntime and onnxruntime-gpu are installed")


def test_a_server_that_cannot_be_imported_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generated = "from google.protobuf import runtime_version as of\n"
    generated += "of.ValidateProtobufRuntimeVersion(of.Domain.PUBLIC, 999, 0, 0, '', 'a.proto')\n"
    (tmp_path / "of_another_time_pb2.py").write_text(generated)
    monkeypatch.syspath_prepend(tmp_path)
    [finding] = unusable("of_another_time_pb2")
    assert finding.status == "fail"
    assert "cannot be imported: VersionError: " in finding.found
    assert "of_another_time_pb2" not in sys.modules


def test_tracing_has_requirements_of_its_own(
    checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    stated = ['nothing-like-it; extra == "tracing"', "pydantic>=999"]
    monkeypatch.setattr(libraries, "requires", lambda _: stated)
    [pydantic] = checked("libraries")
    assert pydantic.found.endswith("and this needs pydantic>=999")
    findings = checked("libraries", otlp_endpoint="http://localhost:4317")
    assert [finding.found for finding in findings[1:]] == ["nothing-like-it is not installed"]


def test_without_the_package_nothing_is_known_of_versions(
    checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(libraries, "requires", nothing)
    [finding] = checked("libraries", device="cuda")
    assert finding.status == "warn"
    assert finding.advice == "install it: pip install '.[cuda]' in its source"
