"""`python -m export convert` with the real converter."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bundle.store import SIGNATURE, Bundle, contents
from export.audit.verification import require, verify
from export.errors import ExportError
from export.lite.bundle_copy import convert
from export.lite.config import ConvertConfig
from export.parity_page import PAGE
from export.parity_record import read_parity
from tests.support.keys import sign_bundle, write_keys
from tests.support.lite import convert as run_convert
from tests.support.paths import ROOT, SHIPPED


def test_the_copy_is_the_bundle_and_one_more_file(lite_bundle: Path) -> None:
    before, after = Bundle.open(SHIPPED), Bundle.open(lite_bundle)
    file = after.file("mindir-lite", "fp32")
    assert after.manifest.files == [*before.manifest.files, file]
    assert {*contents(lite_bundle)} - {*contents(SHIPPED)} == {file.path}
    assert file.buckets == before.file("onnx", "fp32").buckets
    assert file.conversion
    assert file.conversion.converter == "mindspore_lite 2.0.0"
    assert file.conversion.source_sha256 == before.file("onnx", "fp32").sha256


def test_parity_is_what_was_measured(lite_bundle: Path) -> None:
    record = read_parity(lite_bundle)
    parity = record.files[-1]
    assert parity.runtime == "mindspore-lite"
    assert parity.compared_with == "golden"
    assert 0 < parity.largest_difference < parity.tolerance == 1e-5
    assert parity.top1_agreement == 10
    assert f"| {parity.path} (golden images only) |" in (lite_bundle / PAGE).read_text()


def test_a_network_that_sees_mirror_images_is_converted_too(tmp_path: Path) -> None:
    """Version 2: its graph flips each image, and answers with the mean."""
    parity = read_parity(run_convert(SHIPPED.with_name("2"), tmp_path)).files[-1]
    assert (parity.runtime, parity.top1_agreement) == ("mindspore-lite", 10)
    assert parity.largest_difference < 1e-5


def test_the_same_bundle_gives_the_same_file(lite_bundle: Path, tmp_path: Path) -> None:
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(processors)})  # the converter's memory depends on their number
    try:
        again = run_convert(SHIPPED, tmp_path / "a folder further down, of a long name")
    finally:
        os.sched_setaffinity(0, processors)
    # What is measured of it also depends on them.
    first, second = (Bundle.open(b).file("mindir-lite", "fp32") for b in (lite_bundle, again))
    assert first == second


def test_the_copy_verifies(lite_bundle: Path, lite_python: Path) -> None:
    verification = verify(lite_bundle, "cpu", lite_python=lite_python)
    require(verification)
    [result] = [r for r in verification.files if r.file.format == "mindir-lite"]
    assert result.runtime == "mindspore-lite cpu"
    assert result.golden_difference is not None
    [without] = [r for r in verify(lite_bundle, "cpu").files if r.file.format == "mindir-lite"]
    assert "--lite-python" in without.skipped


def test_it_needs_neither_mindspore_nor_onnx(lite_python: Path, tmp_path: Path) -> None:
    """The bundle is signed; its copy is another bundle, for which that signature does not hold."""
    signed = shutil.copytree(SHIPPED, tmp_path / "signed")
    sign_bundle(signed, write_keys(tmp_path))
    script = """
import sys
for name in ("mindspore", "onnx", "matplotlib"):
    sys.modules[name] = None
from export.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
    flags = ["--lite-python", str(lite_python), "--output", str(tmp_path)]
    command = [sys.executable, "-c", script, "convert", str(signed), *flags]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    copy = tmp_path / "fashion_resnext/1"
    assert Bundle.open(copy).file("mindir-lite", "fp32")
    assert not (copy / SIGNATURE).exists()


def test_a_copy_that_exists_is_kept(lite_bundle: Path, lite_python: Path) -> None:
    output = lite_bundle.parents[1]
    with pytest.raises(ExportError, match=r"exists; .*--overwrite"):
        convert(ConvertConfig(bundle=SHIPPED, lite_python=lite_python, output=output))


def test_an_interpreter_without_mindspore_lite_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"cannot convert .*No module named 'mindspore_lite'"):
        convert(ConvertConfig(bundle=SHIPPED, output=tmp_path))
    assert not list(tmp_path.rglob("*.*"))


def test_an_npu_model_is_refused_by_the_converter_that_takes_none(
    lite_python: Path, tmp_path: Path
) -> None:
    asked = {"device": "ascend", "soc": "910b", "lite_python": lite_python, "output": tmp_path}
    with pytest.raises(ExportError, match=r"Lite 2\.0\.0 takes none: leave --soc out"):
        convert(ConvertConfig.model_validate({"bundle": SHIPPED, **asked}))


def test_ascend_needs_its_own_machine(lite_python: Path, tmp_path: Path) -> None:
    config = ConvertConfig(
        bundle=SHIPPED, device="ascend", lite_python=lite_python, output=tmp_path
    )
    with pytest.raises(ExportError, match=r"cannot convert .*for MindSpore Lite.*: RuntimeError: "):
        convert(config)
