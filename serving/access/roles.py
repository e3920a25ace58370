"""Which call needs which role, in one table for gRPC and HTTP.

Each has the roles of which a caller needs one. An administrator, who can exchange a model, may
do all that others may. What describes models is for whoever may classify, too: clients read it
before their first image.

A method or route that is not here ends the start of a server that asks who calls: what somebody
adds is never open because nobody thought of it.
"""

from serving.access.identity import Role

Need = frozenset[Role]

OPEN: Need = frozenset()  # nobody is asked who they are
CLASSIFY = frozenset({Role.CLASSIFY, Role.ADMIN})
READ = frozenset({Role.READ, Role.ADMIN})
DESCRIBE = CLASSIFY | READ
ADMIN = frozenset({Role.ADMIN})

# gRPC's methods, by service.
METHODS: dict[str, dict[str, Need]] = {
    "resnext.serving.v1.Classifier": {
        "Classify": CLASSIFY,
        "ClassifyStream": CLASSIFY,
        "GetModel": DESCRIBE,
        "ListModels": DESCRIBE,
        "SetLabel": ADMIN,
    },
    "inference.GRPCInferenceService": {
        "ServerLive": OPEN,
        "ServerReady": OPEN,
        "ModelReady": OPEN,
        "ServerMetadata": DESCRIBE,
        "ModelMetadata": DESCRIBE,
        "ModelConfig": DESCRIBE,
        "ModelStatistics": READ,
        "RepositoryIndex": DESCRIBE,
        "ModelInfer": CLASSIFY,
        "ModelStreamInfer": CLASSIFY,
        "RepositoryModelLoad": ADMIN,
        "RepositoryModelUnload": ADMIN,
        "TraceSetting": ADMIN,
        "LogSettings": ADMIN,
        # What callers would pass images through, if this server had it.
        "SystemSharedMemoryStatus": CLASSIFY,
        "SystemSharedMemoryRegister": CLASSIFY,
        "SystemSharedMemoryUnregister": CLASSIFY,
        "CudaSharedMemoryStatus": CLASSIFY,
        "CudaSharedMemoryRegister": CLASSIFY,
        "CudaSharedMemoryUnregister": CLASSIFY,
    },
    "grpc.health.v1.Health": {"Check": OPEN, "List": OPEN, "Watch": OPEN},
    "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo": DESCRIBE},
}

# Paths of HTTP, whatever the method: as their routes state them, and without a version.
ROUTES: dict[str, Need] = {
    "/v1/classify": CLASSIFY,
    "/v1/pixels": CLASSIFY,
    "/v1/models": DESCRIBE,
    "/v1/models/{model}/proof": DESCRIBE,
    "/v1/models/{model}/golden/{image}": DESCRIBE,
    "/v1/versions": DESCRIBE,
    "/v1/watch": READ,
    "/predictions/{model}": CLASSIFY,
    "/invocations": CLASSIFY,
    "/v2/models/{model}/infer": CLASSIFY,
    "/healthz": OPEN,
    "/readyz": OPEN,
    "/ping": OPEN,
    "/metrics": READ,
    "/openapi.json": DESCRIBE,
    # The page, which asks for a token itself: no secret is in it.
    "/": OPEN,
    "/web/{file:path}": OPEN,
    "/v2": DESCRIBE,
    "/v2/health/live": OPEN,
    "/v2/health/ready": OPEN,
    "/v2/models": DESCRIBE,
    "/v2/models/stats": READ,
    "/v2/models/{model}": DESCRIBE,
    "/v2/models/{model}/ready": OPEN,
    "/v2/models/{model}/config": DESCRIBE,
    "/v2/models/{model}/stats": READ,
    "/v2/repository/index": DESCRIBE,
    "/v2/repository/models/{model}/load": ADMIN,
    "/v2/repository/models/{model}/unload": ADMIN,
    "/v2/repository/models/{model}/labels/{label}": ADMIN,
    "/v2/trace/setting": ADMIN,
    "/v2/models/{model}/trace/setting": ADMIN,
    "/v2/logging": ADMIN,
    "/v2/{kind}sharedmemory/status": CLASSIFY,
    "/v2/{kind}sharedmemory/unregister": CLASSIFY,
    "/v2/{kind}sharedmemory/region/{region}/status": CLASSIFY,
    "/v2/{kind}sharedmemory/region/{region}/register": CLASSIFY,
    "/v2/{kind}sharedmemory/region/{region}/unregister": CLASSIFY,
}
VERSION = ("/versions/{version}", "/{version}")


def of_method(path: str) -> Need:
    """Return what a method of gRPC needs; raise LookupError."""
    _, service, method = path.split("/")
    return METHODS[service][method]


def of_route(path: str) -> Need:
    """Return what a route of HTTP needs; raise LookupError."""
    for part in VERSION:
        path = path.replace(part, "")
    return ROUTES[path]
