"""Which revision of the source made a record."""

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).parent


def revision(folder: Path = SOURCE) -> str | None:
    """Return the commit of a source tree; None without git or outside a checkout.

    It ends in `-dirty` if files differ from that commit, or are not in it.
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
