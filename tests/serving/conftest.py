from pathlib import Path

import pytest

from tests.support.bundles import write_bundle


@pytest.fixture(autouse=True)
def _no_other_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep real waits for a core out of warm-ups on a virtual clock."""
    monkeypatch.setattr("serving.engine.warm_up.waited_s", lambda: 0.0)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small bundle; read-only."""
    return write_bundle(tmp_path_factory.mktemp("models"))
