"""What most tests of the export share: a small deployment and images that differ."""

import pytest

from export.contract.transform import Pixels, Size
from export.graph import Deployment
from tests.export.images import varied
from tests.support.checkpoints import NORMALIZATION, stirred


@pytest.fixture(scope="session")
def deployment() -> Deployment:
    """A tiny untrained network for ten classes of 28 x 28 images."""
    return Deployment(stirred("tiny", 10), NORMALIZATION, Size(height=28, width=28))


@pytest.fixture(scope="session")
def pixels() -> Pixels:
    """Five images that a network tells apart, uint8 (5, 28, 28, 3)."""
    return varied(5, 28)
