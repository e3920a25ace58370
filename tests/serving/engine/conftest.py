import pytest

from tests.support.serving import Rig


@pytest.fixture(params=[1, 0], ids=["threads decode", "devices decode"])
def decoding(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test twice."""
    monkeypatch.setattr(Rig, "decode_threads", request.param)
