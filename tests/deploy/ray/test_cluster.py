"""The application on a real Ray cluster of three nodes, all of them on this machine."""

from pathlib import Path

import pytest

from tests.support.inside import run_inside


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_works(tmp_path: Path) -> None:
    """Runs all files at once: one cluster for all of them."""
    run_inside(Path(__file__).parent / "inside", tmp_path)
