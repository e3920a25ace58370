"""Models are loaded for real, each in a process of its own, and what fails is told."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.config import ServingConfig
from serving.doctor import load
from serving.doctor.load import Failed, Loaded
from tests.serving.doctor.conftest import MIB, Checked, loaded
from tests.support import crashes
from tests.support.bundles import SIDE
from tests.support.keys import sign_bundle, write_keys

TOO_MANY = (os.cpu_count() or 1) + 1


def load_one(path: Path, **settings: object) -> Loaded | Failed:
    config = ServingConfig.model_validate({"model": [path], "tuned": "off", **settings})
    return load.load(path, config)


@pytest.fixture(scope="module")
def tiny_loaded(tiny: Path) -> Loaded:
    """What the load of the small bundle shows; with more threads than there are cores."""
    others = {"instances": 1, "decode_threads": 3, "background_threads": 2}
    found = load_one(tiny, threads=TOO_MANY, **others)
    assert isinstance(found, Loaded), found
    return found


def test_a_load_is_measured(tiny_loaded: Loaded) -> None:
    assert (tiny_loaded.name, tiny_loaded.version) == ("tiny", "1")
    assert tiny_loaded.images_per_s > 0
    assert tiny_loaded.program_bytes > 10 * MIB
    assert 0 < tiny_loaded.loaded_bytes < tiny_loaded.address_bytes
    assert tiny_loaded.peak_bytes > 0
    assert tiny_loaded.shared_bytes == 0
    assert tiny_loaded.slot_bytes == SIDE * SIDE * 3
    assert tiny_loaded.decoders == 5
    assert tiny_loaded.threads >= 7  # a device, three decoders, two in the background, this one


def test_its_proof_and_its_warnings_are_told(checked: Checked, tiny_loaded: Loaded) -> None:
    warning, told = checked("models", loads=[tiny_loaded])
    assert warning.status == "warn"
    assert f"--threads {TOO_MANY}, but this process may use only" in warning.found
    assert told.status == "ok"
    assert "3 golden images: pixels equal, probabilities within" in told.found
    assert f"tiny/1: onnxruntime on cpu in fp32, 1 instances x {TOO_MANY} threads" in told.found
    assert "images/s without decoding" in told.found


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """A bundle to spoil."""
    return shutil.copytree(tiny, tmp_path / "tiny/1")


def test_a_damaged_bundle_fails_with_its_reason(copy: Path, checked: Checked) -> None:
    (copy / "model.onnx").write_bytes(b"something else")
    [finding] = checked("models", loads=[load_one(copy)])
    assert finding.status == "fail"
    assert finding.found == f"{copy}: changed since it was sealed: model.onnx"
    assert "python -m export verify" in finding.advice


def test_settings_that_do_not_fit_the_bundle_fail(tiny: Path, checked: Checked) -> None:
    [finding] = checked("models", loads=[load_one(tiny, precision="fp16")])
    assert finding.status == "fail"
    assert finding.found.startswith(f"{tiny}: tiny/1 (holds: onnx fp32) cannot run on cpu")
    assert "change the settings" in finding.advice


def test_a_bundle_must_be_signed_if_that_is_asked_for(
    copy: Path, tmp_path: Path, checked: Checked
) -> None:
    keys = write_keys(tmp_path)
    [finding] = checked("models", loads=[load_one(copy, require_signature=[keys.public])])
    assert finding.status == "fail"
    assert "is not signed" in finding.found
    sign_bundle(copy, keys)
    [finding] = checked("models", loads=[load_one(copy, require_signature=[keys.public])])
    assert finding.status == "ok"
    assert f"{copy}: signed by sha256:" in finding.found


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (crashes.segmentation_fault, "ended by signal 11 (Segmentation fault)"),
        (crashes.killed, "ended by signal 9 (Killed), as the kernel does when memory runs out"),
        (crashes.early_exit, "ended with code 3"),
    ],
)
def test_a_crash_costs_one_finding(
    end: Callable[..., None],
    reason: str,
    tiny: Path,
    checked: Checked,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load, "_measure", end)
    [finding] = checked("models", loads=[load_one(tiny)])
    assert finding.status == "fail"
    assert finding.found.startswith(f"{tiny}: its process ")
    assert reason in finding.found


def test_two_of_one_name_fail(checked: Checked) -> None:
    log = {"serving.proof": ["proved"], "serving.loading": ["loaded"]}
    one, other = loaded(path=Path("a"), log=log), loaded(path=Path("b"), log=log)
    *_, finding = checked("models", loads=[one, other])
    assert finding.status == "fail"
    assert finding.found == "a and b are both tiny/1"


def test_what_tune_has_found_is_told(checked: Checked) -> None:
    tuned = loaded(log={"serving.tune.use": ["tuned settings: --threads 2"]})
    first, second = checked("cache", loads=[tuned, loaded()], tuned="auto")
    assert (first.found, first.advice) == ("tuned settings: --threads 2", "")
    assert second.advice.startswith("python -m serving tune tiny/1 --images")
    assert len(checked("cache", loads=[tuned], tuned="off")) == 1


@pytest.mark.slow
def test_a_worker_of_mindspore_lite_takes_shared_memory(
    lite_bundle: Path, lite_python: Path
) -> None:
    found = load_one(lite_bundle, runtime="mindspore-lite", lite_python=lite_python, instances=1)
    assert isinstance(found, Loaded), found
    assert found.shared_bytes > 63 * found.slot_bytes  # the buckets are 1 to 32
