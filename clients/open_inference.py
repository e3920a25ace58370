"""The repository calls of the Open Inference Protocol.

Imported only where one of them is called: tritonclient has messages of the same names, and protobuf
lets a process have them once.
"""

from clients.methods import Method
from clients.types import VersionState
from protos import open_inference_pb2 as oip

SERVICE = "inference.GRPCInferenceService"
PIXELS = "_pixels"

INDEX = Method(
    f"/{SERVICE}/RepositoryIndex",
    oip.RepositoryIndexRequest.SerializeToString,
    oip.RepositoryIndexResponse.FromString,
)
LOAD = Method(
    f"/{SERVICE}/RepositoryModelLoad",
    oip.RepositoryModelLoadRequest.SerializeToString,
    oip.RepositoryModelLoadResponse.FromString,
)
UNLOAD = Method(
    f"/{SERVICE}/RepositoryModelUnload",
    oip.RepositoryModelUnloadRequest.SerializeToString,
    oip.RepositoryModelUnloadResponse.FromString,
)


def index_request() -> oip.RepositoryIndexRequest:
    """Return the message that asks for all versions."""
    return oip.RepositoryIndexRequest()


def version_states(index: oip.RepositoryIndexResponse) -> list[VersionState]:
    """Return what the server says of all versions, each under the name of its bundle."""
    names = {model.name for model in index.models}
    # The protocol gives each model a second name, under which it takes pixels.
    return [
        VersionState(model.name, model.version, model.state, model.reason)
        for model in index.models
        if not (model.name.endswith(PIXELS) and model.name.removesuffix(PIXELS) in names)
    ]


def load_request(name: str, version: str) -> oip.RepositoryModelLoadRequest:
    """Return the message that loads a model."""
    return oip.RepositoryModelLoadRequest(model_name=name, parameters=_version(version))


def unload_request(name: str, version: str) -> oip.RepositoryModelUnloadRequest:
    """Return the message that unloads a model."""
    return oip.RepositoryModelUnloadRequest(model_name=name, parameters=_version(version))


def _version(version: str) -> dict[str, oip.ModelRepositoryParameter]:
    return {"version": oip.ModelRepositoryParameter(string_param=version)} if version else {}
