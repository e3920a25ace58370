"""A data set at rest, tried by the interpreter of .venv-ray, which has Arrow and Ray."""

from pathlib import Path

import pytest

from deploy.ray.classify_dataset import main
from tests.support.inside import run_inside
from tests.support.paths import SAMPLES, SHIPPED

INSIDE = Path(__file__).parent / "inside"
SLOW = {"test_interrupted", "test_on_ray", "test_page"}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem in SLOW))
        for path in sorted(INSIDE.glob("test_*.py"))
    ],
)
def test_it_works(path: Path, tmp_path: Path) -> None:
    run_inside(path, tmp_path)


def test_what_is_missing_elsewhere_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(SAMPLES), str(tmp_path / "rows"), "--model", str(SHIPPED)]
    assert main(words) == 1
    assert "there is no pyarrow here: install the extra batch" in capsys.readouterr().err


def test_help_waits_for_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "usage: python -m deploy.ray.classify_dataset" in capsys.readouterr().out
