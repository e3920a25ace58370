"""What the README of the clients shows runs as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

BLOCKS = re.findall(r"```python\n(.*?)```", Path("clients/README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS, ids=["sync", "async"])
def test_python_runs(server, code):
    code = code.replace("localhost:50051", server.address)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Coat" in done.stdout
