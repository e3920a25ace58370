"""int8 from few images: a sealed bundle, which holds on other images of the same kind."""

from pathlib import Path

import pytest

from bundle.golden import read_golden
from export.__main__ import main
from export.parity_record import read_parity
from tests.export.precision.conftest import write_part
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

CHECKPOINT = ROOT / "models/checkpoints/fashion_resnext.ckpt"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped network, from the first 400 training images and the first 100 test images.

    OpenVINO and ONNX Runtime answer its golden images in int8 as far apart as either is from fp32.
    """
    root = tmp_path_factory.mktemp("few")
    few = write_part(root, train=range(400), test=range(100))
    arguments = ["--ckpt-file", str(CHECKPOINT), "--precision", "fp32,int8", "--images", str(few)]
    assert main([*arguments, "--output", str(root), "--name", "few"]) == 0
    return root / "few/1"


def test_it_says_of_how_many_others_its_tolerance_speaks(bundle: Path) -> None:
    int8 = [file for file in read_parity(bundle).files if file.precision == "int8"]
    assert [file.tolerance_images for file in int8] == [100 + 10 + 200] * 2
    assert [own.runtime for own in read_golden(bundle).files] == [file.runtime for file in int8]
    assert "at most 0.96 % of other such images" in (bundle / "parity.md").read_text()


@pytest.mark.parametrize("first", [100, 400, 700])
def test_it_holds_on_other_images(bundle: Path, tmp_path: Path, first: int) -> None:
    others = write_part(tmp_path, test=range(first, first + 300))
    assert main(["verify", str(bundle), "--images", str(others)]) == 0
