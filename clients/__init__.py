"""A typed client for the Classifier service."""

from clients.client import AsyncClassifierClient, ClassifierClient
from clients.errors import (
    ClassifierError,
    DeadlineError,
    OverloadError,
    RequestError,
    UnavailableError,
)
from clients.types import ClassScore, ImageFailure, ImageSource, ModelInfo, Prediction, Timing

__all__ = [
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
    "UnavailableError",
]
