"""The Classifier service: requests of images, and what describes models and labels them."""

from protos import classifier_pb2 as pb
from serving.api.call import Call
from serving.api.classify import ImageClassifier
from serving.api.fields import check_name
from serving.api.messages import to_labels
from serving.api.requests import Requests
from serving.api.status import failure
from serving.engine.repository import Shelf


class Classifier(ImageClassifier):
    """Answers `resnext.serving.v1.Classifier`.

    Args:
        requests: what requests may ask for.
    """

    _requests: Requests

    def __init__(self, requests: Requests) -> None:
        super().__init__(requests)

    async def GetModel(self, request: pb.GetModelRequest, call: Call) -> pb.Model:  # noqa: N802
        """Describe one model."""
        try:
            check_name("model", len(request.model.encode()))
            check_name("version", len(request.version.encode()))
            return self._requests.describe(
                self._requests.repository.get(request.model, request.version)
            )
        except Exception as error:  # noqa: BLE001 - the call ends with it
            await call.abort(*failure(error, call.request_id))

    async def SetLabel(  # noqa: N802
        self, request: pb.SetLabelRequest, call: Call
    ) -> pb.SetLabelResponse:
        """Point a label at a version, or remove it."""
        try:
            return pb.SetLabelResponse(labels=to_labels(await self._relabelled(request)))
        except Exception as error:  # noqa: BLE001 - the call ends with it
            await call.abort(*failure(error, call.request_id))

    async def ListModels(  # noqa: N802
        self,
        request: pb.ListModelsRequest,  # noqa: ARG002
        call: Call,  # noqa: ARG002
    ) -> pb.ListModelsResponse:
        """Describe all models."""
        models = self._requests.repository.all()
        return pb.ListModelsResponse(models=[self._requests.describe(one) for one in models])

    async def _relabelled(self, request: pb.SetLabelRequest) -> Shelf:
        """Return what is loaded, with the labels that were asked for."""
        check_name("model", len(request.model.encode()))
        check_name("version", len(request.version.encode()))
        self._requests.readiness.check()
        rollouts = self._requests.control.rollouts
        if request.remove:
            return await rollouts.remove(request.model, request.label)
        return await rollouts.set(request.model, request.label, request.version, request.share)
