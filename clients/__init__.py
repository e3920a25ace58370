"""A typed client for the Classifier service.

Modules are imported on first use, because `python -m clients` must set an option of gRPC first.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clients.access import Tls
    from clients.client import AsyncClassifierClient, ClassifierClient
    from clients.errors import (
        AccessError,
        ClassifierError,
        DeadlineError,
        OverloadError,
        RequestError,
        UnavailableError,
    )
    from clients.types import (
        ClassScore,
        ImageFailure,
        ImageSource,
        ModelInfo,
        Prediction,
        Timing,
        VersionLabel,
        VersionState,
    )

__all__ = [
    "AccessError",
    "AsyncClassifierClient",
    "ClassScore",
    "ClassifierClient",
    "ClassifierError",
    "DeadlineError",
    "ImageFailure",
    "ImageSource",
    "ModelInfo",
    "OverloadError",
    "Prediction",
    "RequestError",
    "Timing",
    "Tls",
    "UnavailableError",
    "VersionLabel",
    "VersionState",
]

_MODULES = ("clients.access", "clients.client", "clients.errors", "clients.types")


def __getattr__(name: str) -> object:
    if name in __all__:
        for module in map(import_module, _MODULES):
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
