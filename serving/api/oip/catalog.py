"""What the server says of itself and its models, as messages; HTTP writes them as JSON."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version

from bundle.versions import age
from protos import open_inference_pb2 as pb
from serving.api.oip.names import Named, both, find, names
from serving.api.requests import Requests
from serving.engine.model import Model
from serving.errors import ModelNotFoundError, UnavailableError
from serving.lifecycle import State
from serving.repository.board import Status

NAME = "resnext-serving"
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "parameters",
    "schedule_policy",
    "statistics",
)
# Why calls that clients of other servers make are not answered.
MEMORY = "there is no shared memory: send tensors in requests"
TRACES = "there are no traces; /metrics of the HTTP port has times"
LOG = "the log is set up when the server starts (--log-level)"
ModelIndex = pb.RepositoryIndexResponse.ModelIndex
TensorMetadata = pb.ModelMetadataResponse.TensorMetadata
KINDS = {"cpu": pb.ModelInstanceGroup.KIND_CPU, "cuda": pb.ModelInstanceGroup.KIND_GPU}
# The protocol's words for the states of versions that do not answer.
STATES = dict.fromkeys(Status, "UNAVAILABLE") | {
    Status.LOADING: "LOADING",
    Status.UNLOADING: "UNLOADING",
}
FORMATS = {"onnxruntime": "onnx", "openvino": "onnx", "mindspore-lite": "mindir"}


class Catalog:
    """Describes the server and the models of a repository.

    Methods that take the name and version of a model raise what `names.find` raises.

    Args:
        requests: what requests may ask for.
    """

    def __init__(self, requests: Requests) -> None:
        self._repository, self._readiness = requests.repository, requests.readiness
        self._board, self._max_images = requests.control.board, requests.max_images

    @property
    def ready(self) -> bool:
        """Whether a model answers, and clients should send calls here."""
        return self._is_serving and any(self._repository.ready().values())

    def model_ready(self, name: str, version: str) -> bool:
        """Return whether a model answers; one that is not loaded does not."""
        try:
            return self._answers(find(self._repository, name, version).model)
        except (ModelNotFoundError, UnavailableError):
            return False

    def server(self) -> pb.ServerMetadataResponse:
        """Describe the server."""
        return pb.ServerMetadataResponse(name=NAME, version=server_version(), extensions=EXTENSIONS)

    def metadata(self, name: str, version: str) -> pb.ModelMetadataResponse:
        """Describe the tensors of a model."""
        named = find(self._repository, name, version)
        datatype, shape = ("UINT8", named.pixels_shape) if named.takes_pixels else ("BYTES", (1,))
        return pb.ModelMetadataResponse(
            name=named.name,
            versions=self._repository.versions(named.model.name),
            platform=_platform(named.model),
            inputs=[TensorMetadata(name=named.input_name, datatype=datatype, shape=[-1, *shape])],
            outputs=[
                TensorMetadata(name=named.output_name, datatype="FP32", shape=[-1, named.classes])
            ],
        )

    def config(self, name: str, version: str) -> pb.ModelConfig:
        """Return the configuration of a model."""
        named = find(self._repository, name, version)
        model = named.model
        facts = {
            "digest": model.bundle.digest,
            "precision": model.placement.precision,
            "version": model.version,
        }
        if labels := self._repository.labels(model):
            facts["labels"] = ", ".join(labels)
        return pb.ModelConfig(
            name=named.name,
            platform=_platform(model),
            backend=model.placement.runtime,
            max_batch_size=self._max_images,
            input=[_input(named)],
            output=[
                pb.ModelOutput(name=named.output_name, data_type=pb.TYPE_FP32, dims=[named.classes])
            ],
            instance_group=_instances(model),
            dynamic_batching=pb.ModelDynamicBatching(preferred_batch_size=model.buckets),
            parameters={key: pb.ModelParameter(string_value=text) for key, text in facts.items()},
        )

    def index(self, *, only_ready: bool) -> pb.RepositoryIndexResponse:
        """List every version of every model, also those not loaded, under each of its names."""
        loaded = [
            self._entry(named)
            for model in self._repository.all()
            for named in both(self._repository, model)
            if not only_ready or self._answers(model)
        ]
        others = [
            ModelIndex(name=name, version=one.version, state=STATES[one.status], reason=one.reason)
            for one in self._board.all()
            if not only_ready and one.status is not Status.READY
            for name in names(self._repository, one.name)
        ]
        models = sorted(loaded + others, key=lambda one: (one.name, age(one.version)))
        return pb.RepositoryIndexResponse(models=models)

    def _entry(self, named: Named[Model]) -> pb.RepositoryIndexResponse.ModelIndex:
        if self._answers(named.model):
            labels = ", ".join(self._repository.labels(named.model))
            state, reason = "READY", f"labels: {labels}" if labels else ""
        elif self._is_serving:
            state, reason = "UNAVAILABLE", "no device answers, or no thread decodes"
        else:
            state, reason = "UNAVAILABLE", f"the server is {self._readiness.state}"
        return ModelIndex(name=named.name, version=named.model.version, state=state, reason=reason)

    @property
    def _is_serving(self) -> bool:
        return self._readiness.state is State.SERVING

    def _answers(self, model: Model) -> bool:
        return self._is_serving and model.ready


def _input(named: Named[Model]) -> pb.ModelInput:
    if named.takes_pixels:
        return pb.ModelInput(
            name=named.input_name,
            data_type=pb.TYPE_UINT8,
            format=pb.ModelInput.FORMAT_NHWC,
            dims=named.pixels_shape,
        )
    return pb.ModelInput(name=named.input_name, data_type=pb.TYPE_STRING, dims=[1])


def _instances(model: Model) -> list[pb.ModelInstanceGroup]:
    device = model.placement.device
    kind = KINDS.get(device.partition(":")[0], pb.ModelInstanceGroup.KIND_MODEL)
    return [pb.ModelInstanceGroup(name=device, count=len(model.devices), kind=kind)]


def _platform(model: Model) -> str:
    runtime = model.placement.runtime
    return f"{runtime}_{FORMATS.get(runtime, 'bundle')}"


@cache
def server_version() -> str:
    """Return the version of this package; "0" in a checkout that is not installed."""
    try:
        return version(NAME)
    except PackageNotFoundError:
        return "0"
