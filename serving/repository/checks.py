"""Whether a repository holds what the settings name."""

from collections.abc import Iterable
from pathlib import Path

from serving.config import ServingConfig
from serving.errors import StartupError
from serving.repository.folders import Found, likely


def check_named(config: ServingConfig, root: Path, found: Found) -> None:
    """Raise `StartupError` if the settings name what the repository does not hold."""
    names = dict.fromkeys(config.policy.by_name, "--version-policy")
    names |= {name: "--load-model" for name in config.load_model if name != "*"}
    for name, flag in names.items():
        if name not in found.folders:
            raise StartupError(f"{flag} names {name!r}, but {root} {holds(found.names)}")
        versions = found.folders[name]
        if lost := [v for v in config.policy.rule(name).named if v not in versions]:
            raise StartupError(
                f"{flag} names {name}={lost[0]}, but {root / name} {holds(likely(versions))}"
            )


def holds(things: Iterable[str]) -> str:
    """Return what there is, for a message."""
    return f"holds {', '.join(things) or 'nothing'}"
