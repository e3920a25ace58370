"""Loading and unloading, for gRPC and HTTP: which version of a model a call names, if any."""

from collections.abc import Mapping

from serving.api.fields import check_name
from serving.errors import InvalidRequestError

# What Triton takes in place of what is on disk.
OVERRIDES = ("config", "file:")
VERSION, DEPENDENTS = "version", "unload_dependents"


def version_to_load(parameters: Mapping[str, object]) -> str:
    """Return the version that the parameters of a call name; empty: those of the policy.

    Raises:
        InvalidRequestError: they would change the model, or are unknown.
    """
    for name in parameters:
        if name.startswith(OVERRIDES):
            raise InvalidRequestError(
                f"`{name}` is not taken: a bundle is sealed, and is served as it is on disk; "
                f"add a version to the repository"
            )
    return _version(parameters, (VERSION,))


def version_to_unload(parameters: Mapping[str, object]) -> str:
    """Return the version that the parameters of a call name; empty: all.

    No model depends on another here, so whether to unload those is no question. Raises
    `InvalidRequestError` if a parameter is unknown.
    """
    return _version(parameters, (VERSION, DEPENDENTS))


def _version(parameters: Mapping[str, object], known: tuple[str, ...]) -> str:
    if unknown := sorted(parameters.keys() - set(known)):
        raise InvalidRequestError(
            f"there is no parameter `{unknown[0][:64]}`; there is {', '.join(known)}"
        )
    version = parameters.get(VERSION, "")
    if not isinstance(version, str):
        raise InvalidRequestError(f"`{VERSION}` must be text, such as '2', not {version!r}"[:200])
    check_name("version", len(version.encode()))
    return version
