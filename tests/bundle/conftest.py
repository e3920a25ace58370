"""A small sealed bundle to look at and to spoil."""

from pathlib import Path

import pytest

from tests.support.bundles import write_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The directory of a fresh bundle."""
    return write_bundle(tmp_path)
