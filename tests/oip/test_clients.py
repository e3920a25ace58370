"""Every client of the Open Inference Protocol does all that it can do with this server."""

from pathlib import Path

import pytest

from tests.support.foreign import foreign
from tests.support.paths import FASHION_MNIST
from tests.support.process import Server

FOREIGN = Path(__file__).parent / "foreign"
SLOW = {"test_fashion_mnist"}


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem in SLOW))
        for path in sorted(FOREIGN.glob("test_*.py"))
    ],
)
def test_they_work(server: Server, path: Path) -> None:
    """Runs one file of tests with the interpreter of .venv-oip."""
    flags = ("-c", FOREIGN / "pytest.ini", "-p", "no:cacheprovider", "--quiet")
    done = foreign(
        *("-m", "pytest", *flags, path),
        SERVER_GRPC=server.grpc,
        SERVER_HTTP=server.http.removeprefix("http://"),
        FASHION_MNIST=str(FASHION_MNIST),
    )
    assert done.returncode == 0, done.stdout + done.stderr
