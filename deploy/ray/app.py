"""The application, as `serve run` and `serve deploy` find it: `deploy.ray.app:build`."""

from typing import Any

from ray.serve import Application

from deploy.ray.replica import Classifier
from deploy.ray.settings import read


def build(args: dict[str, Any]) -> Application:
    """Return the application for the settings in `args`: the server's flags, with `_` for `-`.

    Raises:
        StartupError: a setting is wrong, or means nothing to a replica.
    """
    read(args)
    return Classifier.bind(args)
