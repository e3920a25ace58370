from pathlib import Path

import pytest

from tests.support.bundles import write_bundle


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small bundle; read-only."""
    return write_bundle(tmp_path_factory.mktemp("models"))
