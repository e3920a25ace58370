"""What a runtime has made of a model file, in memory that other processes may open, too."""

import fcntl
import os
from collections.abc import Mapping

from serving.errors import StartupError

SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class SealedModel:
    """Files in memory that nobody can write to any more: what was proved of them stays true.

    It is good only for this machine, whose CPU it was made for.

    Args:
        made_by: the runtime that has made it, and its version.
        parts: descriptors of the files by name; it closes them in the end.
    """

    def __init__(self, made_by: str, parts: Mapping[str, int]) -> None:
        self.made_by, self.parts = made_by, dict(parts)

    def __del__(self) -> None:
        for descriptor in self.parts.values():
            os.close(descriptor)

    def seal(self) -> None:
        """Let nobody write to them from now on, in no process; raise `OSError` if somebody does."""
        for descriptor in self.parts.values():
            if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) != SEALS:
                fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)

    def check_made_by(self, runtime: str) -> None:
        """Raise `StartupError` unless it was made by this runtime, which is that of the process."""
        if self.made_by != runtime:
            raise StartupError(
                f"{self.made_by} is installed now, but this server runs {runtime}: restart it"
            )


def memory() -> int:
    """Return the descriptor of a file without a folder, which can be sealed."""
    return os.memfd_create("model", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
