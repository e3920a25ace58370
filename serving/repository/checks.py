"""What the settings allow, and whether a repository holds what they name."""

from collections.abc import Iterable
from pathlib import Path

from serving.config import ServingConfig
from serving.errors import RepositoryError, StartupError
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


def check_explicit(config: ServingConfig) -> Path:
    """Return the repository; raise `RepositoryError` unless calls may load and unload."""
    if not (root := config.repository):
        raise RepositoryError(
            "models are loaded when the server starts, and stay: start it with --repository "
            "and --model-control explicit to load and unload them"
        )
    if (control := config.model_control) != "explicit":
        raise RepositoryError(
            f"with --model-control {control} the folders of the repository say what is loaded: "
            f"add or remove one, or start the server with --model-control explicit"
        )
    return root


def holds(things: Iterable[str]) -> str:
    """Return what there is, for a message."""
    return f"holds {', '.join(things) or 'nothing'}"
