"""What made a checkpoint."""

import shutil
import subprocess
from pathlib import Path

import mindspore


def versions() -> dict[str, str | None]:
    """Return the version of mindspore and the git revision (None outside a checkout)."""
    return {"mindspore": mindspore.__version__, "revision": revision()}


def revision() -> str | None:
    """Return the commit of this source tree, None where there is no git or no checkout."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "rev-parse", "HEAD"]
    done = subprocess.run(  # noqa: S603 - a fixed command
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None
