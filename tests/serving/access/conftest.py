from pathlib import Path

import pytest

from tests.support.certificates import Authority


@pytest.fixture(scope="session")
def authority() -> Authority:
    """The one that clients trust."""
    return Authority()


@pytest.fixture(scope="session")
def other() -> Authority:
    """One that nobody trusts."""
    return Authority("other")


@pytest.fixture(scope="session")
def ca(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate of the authority that clients trust."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    path.write_bytes(authority.certificate)
    return path
