"""The server's inside without its ports: models, and the services that answer for them."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry

from deploy.ray.http import HttpDoor
from images.decoders import configure
from serving.api.classifier import Classifier
from serving.api.oip.service import OpenInference
from serving.api.requests import Requests
from serving.config import ServingConfig
from serving.engine.model import Model
from serving.engine.repository import ModelRepository
from serving.errors import ProcessLostError, UnavailableError
from serving.http.app import create_app
from serving.http.calls import Calls
from serving.lifecycle import Readiness, State
from serving.memory import tidy
from serving.metrics import Metrics
from serving.repository.control import Control


class Engine:
    """The models of one replica; for the event loop that runs when it is made.

    Args:
        config: what it loads, and how that runs.

    Attributes:
        classifier, open_inference: the services.
        http: the ASGI application.
    """

    def __init__(self, config: ServingConfig) -> None:
        configure()
        self._metrics = Metrics(CollectorRegistry())
        self._readiness = Readiness(self._metrics.ready)
        self._repository = ModelRepository()
        self._lost: ProcessLostError | None = None
        self._control = Control(
            config, self._repository, self._metrics, changed=lambda: None, lost=self._lose
        )
        requests = Requests(
            self._repository,
            self._readiness,
            config.max_images_per_request,
            config.default_timeout_ms / 1000,
            self._control,
        )
        self.classifier, self.open_inference = Classifier(requests), OpenInference(requests)
        app = create_app(
            self._metrics.registry,
            Calls(requests, config.max_message_bytes),
            config.image_limits,
            page=config.page == "on",
        )
        self.http = HttpDoor(app, config.max_message_bytes)

    async def start(self) -> None:
        """Load, prove and warm every model.

        Raises:
            BundleError: a bundle does not prove itself.
            StartupError: a model cannot run as configured.
        """
        await self._control.start()
        tidy(whole=True)
        self._readiness.enter(State.SERVING)

    @property
    def models(self) -> Sequence[Model]:
        """The models that are loaded."""
        return self._repository.all()

    def check(self) -> None:
        """Raise what keeps every model from answering, if anything does."""
        lost = (model.lost_process for model in self.models)
        if error := self._lost or next((one for one in lost if one), None):
            raise error
        if not any(self._repository.ready().values()):
            raise UnavailableError("no device answers")

    async def close(self) -> None:
        """Refuse what comes, and end all models."""
        self._readiness.closing.set()
        self._readiness.enter(State.DRAINING)
        await self._control.close()

    def _lose(self, error: ProcessLostError) -> None:
        self._lost = error
