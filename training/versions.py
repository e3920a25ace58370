"""What made a checkpoint."""

import shutil
import subprocess
from pathlib import Path

import mindspore

SOURCE = Path(__file__).parent


def versions() -> dict[str, str | None]:
    """Return the version of mindspore and the git revision (None outside a checkout)."""
    return {"mindspore": mindspore.__version__, "revision": revision()}


def revision(folder: Path = SOURCE) -> str | None:
    """Return the commit of a source tree, None where there is no git or no checkout.

    It ends in `-dirty` where files differ from that commit, or are not in it.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    changed = _git(folder, "--no-optional-locks", "status", "--porcelain")
    return f"{commit}-dirty" if commit and changed else commit


def _git(folder: Path, *arguments: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run(  # noqa: S603 - fixed commands
        [git, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None
