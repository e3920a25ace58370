import shutil
from pathlib import Path

import pytest

from bundle.store import Bundle
from serving.banner import banner


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("::", "localhost"),
        ("0.0.0.0", "localhost"),
        ("::1", "localhost"),
        ("fd00::2", "[fd00::2]"),
        ("10.0.0.7", "10.0.0.7"),
    ],
)
def test_the_address_can_be_used_as_printed(tiny: Path, host: str, shown: str) -> None:
    lines = banner(Bundle.open(tiny), host, 1, 2).splitlines()
    assert lines[0] == f"gRPC  {shown}:1"
    assert lines[1] == f"HTTP  http://{shown}:2/metrics"
    assert lines[2].endswith(f"--address {shown}:1")


def test_a_path_with_spaces_is_quoted(tiny: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny, tmp_path / "my models/1")
    line = banner(Bundle.open(copy), "::", 1, 2).splitlines()[2]
    assert f"classify '{copy}/golden/ant_0.png' --address" in line
