"""Every command of docs/batch.md runs as it stands, in a folder that has what its readers have."""

import os
import re
import subprocess
import sys
from pathlib import Path

from conftest import rows

from tests.support.paths import ROOT

BLOCKS: list[str] = re.findall(r"```sh\n(.*?)```", (ROOT / "docs/batch.md").read_text(), re.DOTALL)


def test_all_commands_run(tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to(sys.prefix)
    for name in ("examples", "models"):
        (tmp_path / name).symlink_to(ROOT / name)
    printed = ""
    for block in BLOCKS:
        done = subprocess.run(
            ["bash", "-ec", block],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, block + done.stdout + done.stderr
        printed += done.stdout
    assert "'labels': ['Ankle boot', " in printed
    images = len(list((ROOT / "examples/images").iterdir()))
    for target in ("rows", "rows-of-tar", "rows-of-parquet", "rows-of-ray"):
        assert [row["status"] for row in rows(tmp_path / target)] == ["OK"] * images
    assert [Path(row["path"]).name for row in rows(tmp_path / "rows-of-glob")] == [
        "dress_13.png",
        "dress_86.png",
    ]
