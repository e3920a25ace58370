"""What every check yields, and what it may look at."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from serving.doctor.config import DoctorConfig

if TYPE_CHECKING:
    from serving.doctor.load import Failed, Loaded

Status = Literal["ok", "warn", "fail"]
# Advice where a message of the server itself says what to do.
AS_IT_SAYS = "as it says"


class Finding(NamedTuple):
    """What a check has found.

    Args:
        status: `fail`: something would not work; `warn`: it would, but not as well or as safely.
        found: what was found.
        advice: what to do; empty if nothing needs to be done.
    """

    status: Status
    found: str
    advice: str = ""


class Case:
    """The server as it would be started, and the machine under it.

    Args:
        config: its settings.
        root: where /proc and /sys are.
    """

    def __init__(self, config: DoctorConfig, root: Path = Path("/")) -> None:
        self.config, self.root = config, root

    @cached_property
    def loads(self) -> "list[Loaded | Failed]":
        """What the loading of each model has shown; they are loaded once, one after the other."""
        from serving.doctor.versions import load_all

        return [*load_all(self.config)]

    @cached_property
    def loaded(self) -> "list[Loaded]":
        """Those that could be loaded."""
        from serving.doctor.load import Loaded

        return [load for load in self.loads if isinstance(load, Loaded)]


class Check(Protocol):
    """Looks at one subject; may raise a `ServingError` in place of a finding that fails."""

    def __call__(self, case: Case) -> Iterator[Finding]:
        """Yield what is found."""
